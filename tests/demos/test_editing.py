"""Merging and splitting of demonstration files."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.demos.synthetic import demonstration, header
from vla_bench.core.errors import DemonstrationFileError, OutputInUseError
from vla_bench.core.files import claimed
from vla_bench.demos import DemonstrationFile, merge_files, split_file, write_demonstrations
from vla_bench.demos.editing import EditingError
from vla_bench.demos.writing import DemonstrationWriteError


@pytest.fixture
def first(tmp_path: Path) -> Path:
    path = tmp_path / "first.hdf5"
    write_demonstrations(path, header(), [demonstration(index) for index in range(12)])
    return path


@pytest.fixture
def second(tmp_path: Path) -> Path:
    path = tmp_path / "second.hdf5"
    made = [demonstration(index, task="push", success=index != 1) for index in range(4)]
    write_demonstrations(path, header(), made)
    return path


def test_merged_files_hold_all_demonstrations_in_order(first: Path, second: Path, tmp_path: Path) -> None:
    report = merge_files([first, second], tmp_path / "both.hdf5")
    assert (report.demonstrations, report.duplicates) == (16, 0)
    with DemonstrationFile(tmp_path / "both.hdf5") as file:
        assert file.names == tuple(f"demo_{number}" for number in range(16))
        tasks = [file.summary(name).identity.task for name in file.names]
        assert tasks == ["reach"] * 12 + ["push"] * 4
        read, made = file.read("demo_13"), demonstration(1, task="push", success=False)
        np.testing.assert_array_equal(read.images["wrist"], made.images["wrist"])
        assert (read.summary(), read.model_xml) == (made.summary(), made.model_xml)
        assert file.mask("made_up.push") == ("demo_12", "demo_13", "demo_14", "demo_15")
        assert [entry["file"] for entry in file.header.collection["merged"]] == [str(first), str(second)]


def test_merged_demonstrations_stay_in_their_subsets(first: Path, second: Path, tmp_path: Path) -> None:
    merge_files([second, first], tmp_path / "both.hdf5")
    valid = set()
    for path in (first, second):
        with DemonstrationFile(path) as file:
            valid |= {file.summary(name).identity for name in file.mask("valid")}
    with DemonstrationFile(tmp_path / "both.hdf5") as file:
        assert {file.summary(name).identity for name in file.mask("valid")} == valid
        assert len(file.mask("train")) == 15 - len(valid)
        assert file.mask("failure") == ("demo_1",)


def test_duplicates_are_merged_once(first: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.hdf5"
    changed = demonstration(3)
    executed = changed.executed_actions + np.float32(0.01)
    write_demonstrations(other, header(), [demonstration(2), replace(changed, executed_actions=executed)])
    report = merge_files([first, other, first], tmp_path / "both.hdf5")
    assert (report.demonstrations, report.duplicates) == (13, 13)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"image_size": 48}, "image_size 24, not 48"),
        ({"cameras": ("agentview",)}, r"cameras agentview \+ wrist, not agentview"),
        ({"control_hz": 10}, "control_hz 20, not 10"),
        ({"depth": True}, "depth False, not True"),
        ({"env_args": {"env_kwargs": {"robot": "ur5e"}}}, "robot None, not ur5e"),
        ({"proprioception_fields": ()}, r"proprioception_fields end_effector_position \(3\) \+ gripper_position"),
    ],
)
def test_files_with_different_headers_are_refused(
    first: Path, tmp_path: Path, change: dict[str, object], difference: str
) -> None:
    other = tmp_path / "other.hdf5"
    write_demonstrations(other, replace(header(), **change), [])  # type: ignore[arg-type]
    with pytest.raises(EditingError, match=f"first.hdf5 and .*other.hdf5 cannot be merged: {difference}"):
        merge_files([first, other], tmp_path / "both.hdf5")
    assert {entry.name for entry in tmp_path.iterdir()} == {"first.hdf5", "other.hdf5"}


def test_a_split_is_random_by_task_and_reproducible(first: Path, second: Path, tmp_path: Path) -> None:
    both = tmp_path / "both.hdf5"
    merge_files([first, second], both)
    members = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        report = split_file(both, tmp_path / f"{name}.hdf5", valid=0.25, seed=seed)
        assert (report.train, report.valid) == (11, 4)  # of 12 and of 3 successes
        with DemonstrationFile(tmp_path / f"{name}.hdf5") as file:
            assert not set(file.mask("train")) & set(file.mask("valid"))
            assert not set(file.mask("failure")) & {*file.mask("train"), *file.mask("valid")}
            tasks = [file.summary(demo).identity.task for demo in file.mask("valid")]
            assert (tasks.count("reach"), tasks.count("push")) == (3, 1)
            members.append(file.mask("valid"))
    assert members[0] == members[1] != members[2]


def test_a_split_into_two_files(first: Path, tmp_path: Path) -> None:
    report = split_file(first, tmp_path / "x.hdf5", valid=0.25, separate=True)
    assert [path.name for path in report.outputs] == ["x_train.hdf5", "x_valid.hdf5"]
    counts, identities = [], set()
    for path, subset in zip(report.outputs, ("train", "valid"), strict=True):
        with DemonstrationFile(path) as file:
            assert file.mask(subset) == file.names
            counts.append(len(file))
            identities |= {file.summary(name).identity for name in file.names}
    assert (counts, len(identities)) == ([9, 3], 12)
    assert not (tmp_path / "x.hdf5").exists()


def test_a_single_demonstration_of_a_task_is_for_training(tmp_path: Path) -> None:
    write_demonstrations(tmp_path / "one.hdf5", header(), [demonstration(0)])
    report = split_file(tmp_path / "one.hdf5", tmp_path / "x.hdf5", valid=0.5)
    assert (report.train, report.valid) == (1, 0)
    with pytest.raises(EditingError, match=r"y_valid\.hdf5 would hold no demonstration"):
        split_file(tmp_path / "one.hdf5", tmp_path / "y.hdf5", valid=0.5, separate=True)


def test_existing_outputs_are_never_changed(first: Path, second: Path, tmp_path: Path) -> None:
    before = second.read_bytes()
    with pytest.raises(EditingError, match=r"second.hdf5 exists already\. Move it away"):
        merge_files([first], second)
    with pytest.raises(EditingError, match=r"second.hdf5 is the input file"):
        split_file(second, second)
    with pytest.raises(EditingError, match=r"The validation fraction is 1\.5; expected a number between 0 and 1"):
        split_file(first, tmp_path / "x.hdf5", valid=1.5)
    with claimed(tmp_path / "x.hdf5"), pytest.raises(OutputInUseError):
        merge_files([first], tmp_path / "x.hdf5")
    assert second.read_bytes() == before
    assert {entry.name for entry in tmp_path.iterdir()} == {"first.hdf5", "second.hdf5"}


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no such file"), (b"my thesis", "not an HDF5 file"), ("foreign", "an HDF5 file of LIBERO")],
)
def test_other_files_are_reported(first: Path, tmp_path: Path, content: bytes | str | None, message: str) -> None:
    path = tmp_path / "x.hdf5"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "foreign":
        with h5py.File(path, "w") as file:
            file.create_group("data").attrs["problem_info"] = "{}"
    with pytest.raises(DemonstrationFileError, match=message):
        merge_files([first, path], tmp_path / "both.hdf5")
    assert not (tmp_path / "both.hdf5").exists()


def test_a_full_disk_leaves_no_file(first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(DemonstrationWriteError, match=r"MB, and 0 MB are free\. The incomplete file was removed"):
        merge_files([first], tmp_path / "both.hdf5")
    assert {entry.name for entry in tmp_path.iterdir()} == {"first.hdf5"}
