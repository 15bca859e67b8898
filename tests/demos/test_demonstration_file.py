"""Reading and writing of demonstration files."""

import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.demos.synthetic import demonstration, header
from vla_bench.core.errors import DemonstrationFileError
from vla_bench.demos import Demonstration, DemonstrationFile, write_demonstrations
from vla_bench.demos.demonstration import CameraTrack
from vla_bench.demos.writing import write_chunked


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "demos.hdf5"
    write_demonstrations(path, header(), [demonstration(index) for index in range(12)])
    return path


def assert_same(one: Demonstration, other: Demonstration) -> None:
    first, second = asdict(one), asdict(other)
    for name in first:
        np.testing.assert_equal(second[name], first[name], err_msg=name)


@pytest.mark.parametrize("depth", [False, True])
def test_demonstrations_survive_writing_and_reading(tmp_path: Path, depth: bool) -> None:
    written = [demonstration(index, steps=3 + index, depth=depth) for index in range(3)]
    path = tmp_path / "demos.hdf5"
    write_demonstrations(path, header(depth=depth), written)
    with DemonstrationFile(path) as file:
        assert file.header == header(depth=depth)
        for one, other in zip(written, file, strict=True):
            assert_same(one, other)
            assert one.summary() == other.summary()


def test_arrays_have_their_types(path: Path) -> None:
    read = DemonstrationFile(path).read("demo_0")
    types = {name: getattr(read, name).dtype.name for name in ("proprioception", "actions", "states", "dones")}
    assert types == {"proprioception": "float32", "actions": "float32", "states": "float64", "dones": "bool"}


def test_names_are_in_numerical_order(path: Path) -> None:
    with DemonstrationFile(path) as file:
        assert file.names == tuple(f"demo_{number}" for number in range(12))
        assert [file.summary(name).identity.index for name in file.names] == list(range(12))


def test_a_frame_equals_that_of_the_whole_demonstration(path: Path) -> None:
    with DemonstrationFile(path) as file:
        whole, frame = file.read("demo_3"), file.frame("demo_3", 7)
        np.testing.assert_array_equal(frame["wrist"], whole.images["wrist"][7])
        assert set(file.frame("demo_3", 7, cameras=("wrist",))) == {"wrist"}


def test_reading_without_cameras_reads_no_images(path: Path) -> None:
    read = DemonstrationFile(path).read("demo_0", cameras=())
    assert (dict(read.images), read.actions.shape) == ({}, (11, 7))


def test_second_of_every_ten_successes_is_for_validation(tmp_path: Path) -> None:
    made = [demonstration(index, success=index != 1) for index in range(13)]
    write_demonstrations(tmp_path / "demos.hdf5", header(), [*made, demonstration(0, task="push")])
    with DemonstrationFile(tmp_path / "demos.hdf5") as file:
        assert file.mask("valid") == ("demo_2", "demo_12")
        assert file.mask("failure") == ("demo_1",)
        assert len(file.mask("train")) == 11
        assert file.mask("made_up.push") == ("demo_13",)
        assert set(file.mask("train")).isdisjoint(file.mask("valid"))


def test_layout_is_what_robomimic_reads(path: Path) -> None:
    with h5py.File(path, "r", swmr=True, libver="latest") as file:  # as its SequenceDataset opens it
        attributes = file["data"].attrs
        assert attributes["total"] == 12 * 11
        assert '"type": 2' in attributes["env_args"]
        assert file["data/demo_10"].attrs["num_samples"] == 11
        assert [name.decode("utf-8") for name in np.array(file["mask/valid"][:])] == ["demo_1", "demo_11"]
        assert file["data/demo_10/obs/wrist_image"].shape == (11, 24, 24, 3)
        assert file["data/demo_10/dones"][-1] == 1


def test_equal_models_are_stored_once(tmp_path: Path) -> None:
    made = [demonstration(0), demonstration(1), demonstration(0, task="push")]
    write_demonstrations(tmp_path / "demos.hdf5", header(), made)
    with h5py.File(tmp_path / "demos.hdf5") as file:
        assert len(file["models"]) == 2
    with DemonstrationFile(tmp_path / "demos.hdf5") as file:
        assert file.read("demo_2").model_xml == '<mujoco model="push"/>'


def test_reading_loads_no_simulator_and_no_torch(path: Path) -> None:
    program = (
        "import sys; from vla_bench.demos import DemonstrationFile; DemonstrationFile(sys.argv[1]).read('demo_0');"
        "print(sorted({'mujoco', 'torch', 'robosuite'} & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_size_of_a_truncated_file_is_reported(path: Path) -> None:
    size = path.stat().st_size
    os.truncate(path, size // 2)
    with pytest.raises(DemonstrationFileError, match=rf"truncated \({size // 2:,} of {size:,} bytes"):
        DemonstrationFile(path)


@pytest.mark.parametrize(
    ("attributes", "origin"),
    [({"problem_info": "{}"}, "LIBERO"), ({"env_args": "{}"}, "robomimic"), ({}, "another tool")],
)
def test_the_origin_of_another_file_is_reported(tmp_path: Path, attributes: dict[str, str], origin: str) -> None:
    with h5py.File(tmp_path / "theirs.hdf5", "w") as file:
        file.create_group("data").attrs.update(attributes)
    with pytest.raises(DemonstrationFileError, match=f"{origin}.*expected data.attrs"):
        DemonstrationFile(tmp_path / "theirs.hdf5")


def test_hdf5_without_demonstrations_is_reported(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "theirs.hdf5", "w") as file:
        file.create_group("episodes")
    with pytest.raises(DemonstrationFileError, match="expected a group `data`, found episodes"):
        DemonstrationFile(tmp_path / "theirs.hdf5")


def test_a_missing_or_other_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DemonstrationFileError, match="not an HDF5 file"):
        DemonstrationFile(tmp_path / "notes.txt")
    with pytest.raises(DemonstrationFileError, match="no such file"):
        DemonstrationFile(tmp_path / "nothing.hdf5")


def test_later_format_version_is_refused(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["data"].attrs["format_version"] = 99
    with pytest.raises(DemonstrationFileError, match=r"format version 99.*reads format version 1"):
        DemonstrationFile(path)


def test_unknown_names_are_reported_with_the_known_ones(path: Path) -> None:
    with DemonstrationFile(path) as file:
        with pytest.raises(DemonstrationFileError, match="no images of camera front; it has agentview, wrist"):
            file.read("demo_0", cameras=("front",))
        with pytest.raises(DemonstrationFileError, match="no demonstration 'demo_99'; it has demo_0 to demo_11"):
            file.read("demo_99")
        with pytest.raises(DemonstrationFileError, match=r"no subset 'test'; it has made_up\.reach, train, valid"):
            file.mask("test")


def test_requirements_are_checked_before_training(path: Path) -> None:
    with DemonstrationFile(path) as file:
        file.require(cameras=("wrist",), proprioception=("gripper_position",))
        with pytest.raises(DemonstrationFileError, match="no images of camera front"):
            file.require(cameras=("front",))
        with pytest.raises(DemonstrationFileError, match="no proprioception field joint_positions; it has"):
            file.require(proprioception=("joint_positions",))
        with pytest.raises(DemonstrationFileError, match=r"demo_0/actions has shape \(11, 7\), expected \(T, 14\)"):
            file.require(action_dim=14)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda demo: demo.pop("obs/wrist_image"), "demo_0 lacks the dataset obs/wrist_image"),
        (lambda demo: demo.pop("states"), "demo_0 lacks the dataset states"),
        (lambda demo: demo.attrs.pop("instruction"), "demo_0 lacks the attribute 'instruction'"),
        (lambda demo: demo.attrs.modify("num_samples", 9), "has 11 steps, but num_samples is 9"),
    ],
)
def test_missing_content_is_named(path: Path, change: object, problem: str) -> None:
    with h5py.File(path, "a") as file:
        change(file["data/demo_0"])  # type: ignore[operator]
    with DemonstrationFile(path) as file, pytest.raises(DemonstrationFileError, match=problem):
        file.read("demo_0")


def test_damaged_images_are_named(path: Path) -> None:
    with h5py.File(path, "r") as file:
        chunk = file["data/demo_0/obs/wrist_image"].id.get_chunk_info(0)
    with path.open("r+b") as raw:
        raw.seek(chunk.byte_offset + chunk.size // 2)
        raw.write(b"\x00" * 64)
    with DemonstrationFile(path) as file, pytest.raises(DemonstrationFileError, match="obs/wrist_image is damaged"):
        file.read("demo_0")


def test_a_failed_write_leaves_the_earlier_file(path: Path) -> None:
    before = path.read_bytes()

    def broken() -> object:
        yield demonstration(0)
        raise ValueError("the source failed")

    with pytest.raises(ValueError, match="the source failed"):
        write_demonstrations(path, header(), broken())  # type: ignore[arg-type]
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_labels_cameras_segmentation_and_device_are_stored(tmp_path: Path) -> None:
    one = demonstration(0)
    steps, poses = one.steps, np.stack([np.eye(4) * (1 + step) for step in range(one.steps)])
    made = replace(
        one,
        labels=("nominal",) * 3 + ("slip",) * 2 + ("recovery",) * (steps - 5),
        cameras={"agentview": CameraTrack(np.eye(3), np.eye(4)), "wrist": CameraTrack(2 * np.eye(3), poses)},
        segmentation={name: images[..., 0] for name, images in one.images.items()},
        segment_names=("background", "robot", "cube"),
        device="keyboard",
        judged_by="person",
    )
    write_demonstrations(tmp_path / "x.hdf5", replace(header(), segmentation=True), [made])
    with DemonstrationFile(tmp_path / "x.hdf5") as file:
        read = file.read("demo_0")
        assert file.summary("demo_0") == made.summary()
    assert (read.labels, read.device, read.judged_by) == (made.labels, "keyboard", "person")
    assert (read.summary().slips, read.summary().slip_steps, read.summary().recovery_steps) == (1, 2, steps - 5)
    np.testing.assert_array_equal(read.cameras["wrist"].pose_world, poses)
    np.testing.assert_array_equal(read.cameras["agentview"].intrinsics, np.eye(3))
    np.testing.assert_array_equal(read.segmentation["wrist"], made.segmentation["wrist"])


def test_older_files_without_devices_and_slips_are_read(path: Path) -> None:
    with h5py.File(path, "a") as file:
        group = file["data/demo_3"]
        for name in ("device", "judged_by", "slips", "slip_steps", "recovery_steps", "dropped_steps", "label_names"):
            del group.attrs[name]
        del group.attrs["segment_names"], group["labels"], file["data"].attrs["segmentation"]
    with DemonstrationFile(path) as file:
        read = file.read("demo_3")
    assert read.summary() == demonstration(3).summary()
    assert set(read.labels) == {"nominal"}


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        ((5, 24, 24, 3), (4, 9, 24, 3)),  # no axis is a multiple of the chunk size
        ((4, 8, 8, 3), (4, 8, 8, 3)),
        ((1, 7), (1, 7)),
    ],
)
def test_hdf5_reads_written_chunks(tmp_path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], level: int) -> None:
    values = np.random.default_rng(0).integers(0, 5, shape).astype(np.uint8)
    with h5py.File(tmp_path / "images.hdf5", "w") as file:
        write_chunked(file.create_group("obs"), "image", values, chunks, level=level)
    with h5py.File(tmp_path / "images.hdf5", "r") as file:
        dataset = file["obs/image"]
        assert (dataset.compression, dataset.chunks, dataset.dtype) == ("gzip", chunks, np.uint8)
        np.testing.assert_array_equal(dataset[()], values)
        np.testing.assert_array_equal(dataset[shape[0] - 1], values[-1])


def test_arrays_of_any_memory_order_are_written(tmp_path: Path) -> None:
    values = np.arange(4 * 6 * 5, dtype=np.uint8).reshape(5, 6, 4).transpose(2, 1, 0)[::-1]
    with h5py.File(tmp_path / "images.hdf5", "w") as file:
        write_chunked(file, "image", values, (3, 4, 5), level=2)
        np.testing.assert_array_equal(file["image"][()], values)
