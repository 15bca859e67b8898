"""Files that can be opened but hold invalid content are refused with a message that locates it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.demos.other_formats import WRITERS, content
from vla_bench.core.errors import ConventionError, DemonstrationFileError, VlaBenchError
from vla_bench.demos.editing import merge_files, split_file
from vla_bench.demos.sources import SourceOptions, open_source, require_stated_conventions
from vla_bench.demos.summary import source_lines, summarize

EPISODES = (content(0), content(1, steps=9))
WRIST = {"ours": "wrist_image", "robomimic": "robot0_eye_in_hand_image", "libero": "eye_in_hand_rgb"}


def put(group: Any, key: str, values: Any) -> None:
    attributes = dict(group[key].attrs)
    del group[key]
    group[key] = values
    group[key].attrs.update(attributes)


@pytest.mark.parametrize("format_name", sorted(WRIST))
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda images: np.concatenate([images[:2], images]), "has 11 images, but there are 9 actions"),
        (lambda images: images[:-2], "has 7 images, but there are 9 actions"),
        (lambda images: images.astype(np.float32) / 255, "is float32 of shape (9, 24, 24, 3), expected uint8 images"),
        (lambda images: images.transpose(0, 3, 1, 2), "is uint8 of shape (9, 3, 24, 24), expected uint8 images"),
        (lambda images: images[..., :1], "is uint8 of shape (9, 24, 24, 1), expected uint8 images"),
    ],
)
def test_images_that_do_not_match_the_actions_are_refused(
    tmp_path: Path, format_name: str, change: Callable[[Any], Any], text: str
) -> None:
    path = WRITERS[format_name](tmp_path, EPISODES)
    key = f"obs/{WRIST[format_name]}"
    with h5py.File(path, "r+") as file:
        group = file["data/demo_1"]
        put(group, key, change(group[key][:]))
    with open_source(path) as source:
        assert source.images("demo_0", "wrist", np.array([0])).shape == (1, 24, 24, 3)
        with pytest.raises(DemonstrationFileError) as error:
            source.images("demo_1", "wrist", np.array([0]))
    assert str(error.value).startswith(f"{path}: demo_1/{key} {text}")


@pytest.mark.parametrize("format_name", sorted(WRIST))
def test_a_damaged_array_is_reported(tmp_path: Path, format_name: str) -> None:
    path = WRITERS[format_name](tmp_path, EPISODES)
    with h5py.File(path, "r+") as file:
        group, values = file["data/demo_1"], file["data/demo_1/actions"][:]
        del group["actions"]
        group.create_dataset("actions", data=values, compression="gzip", chunks=values.shape)
        file.flush()
        chunk = group["actions"].id.get_chunk_info(0)
    content_of_file = bytearray(path.read_bytes())
    content_of_file[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\xff" * chunk.size
    path.write_bytes(content_of_file)
    with open_source(path) as source, pytest.raises(DemonstrationFileError, match="demo_1/actions is damaged"):
        source.actions("demo_1")


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return WRITERS["ours"](tmp_path, EPISODES)


def test_proprioception_narrower_than_its_fields_is_refused(ours: Path) -> None:
    with h5py.File(ours, "r+") as file:
        put(file["data/demo_1"], "obs/proprioception", file["data/demo_1/obs/proprioception"][:, :10])
    with (
        open_source(ours) as source,
        pytest.raises(DemonstrationFileError, match="the header have 15 numbers"),
    ):
        source.proprioception("demo_1", ["joint_positions"])


def test_a_demonstration_without_steps_is_refused(ours: Path) -> None:
    with h5py.File(ours, "r+") as file:
        file["data/demo_1"].attrs["num_samples"] = 0
    with pytest.raises(DemonstrationFileError, match="demo_1 has no steps: leave it out"):
        open_source(ours)


def test_a_subset_with_an_unknown_demonstration_is_refused(ours: Path) -> None:
    with h5py.File(ours, "r+") as file:
        put(file, "mask/train", np.array([b"demo_0", b"demo_99"]))
    with open_source(ours) as source, pytest.raises(DemonstrationFileError, match="'train' names demo_99"):
        source.subset("train")


def test_a_missing_model_is_reported_when_merging_or_splitting(ours: Path, tmp_path: Path) -> None:
    with h5py.File(ours, "r+") as file:
        del file["models"]
    for edit in (lambda output: split_file(ours, output), lambda output: merge_files([ours], output)):
        with pytest.raises(DemonstrationFileError, match="demo_0 lacks its model"):
            edit(tmp_path / "new.hdf5")
    assert not (tmp_path / "new.hdf5").exists()


def test_an_empty_file_is_not_split(ours: Path, tmp_path: Path) -> None:
    with h5py.File(ours, "r+") as file:
        for name in list(file["data"]):
            del file[f"data/{name}"]
        del file["mask"]
    with pytest.raises(VlaBenchError, match="There is no demonstration in"):
        split_file(ours, tmp_path / "new.hdf5")
    assert not (tmp_path / "new.hdf5").exists()


@pytest.mark.parametrize("format_name", ["robomimic", "libero"])
def test_unknown_demonstrations_in_other_formats_subsets_are_refused(tmp_path: Path, format_name: str) -> None:
    path = WRITERS[format_name](tmp_path, EPISODES)
    with h5py.File(path, "r+") as file:
        file["mask/train"] = np.array([b"demo_0", b"demo_7"])
    with open_source(path) as source, pytest.raises(DemonstrationFileError, match="'train' names demo_7"):
        source.subset("train")


@pytest.mark.parametrize(
    ("robots", "robot"),
    [(["Panda"], "panda"), ("MountedPanda", "panda"), (["UR5e"], "ur5e"), (["Panda", "UR5e"], None), ([], None)],
)
def test_the_robot_of_robomimic_files_is_known(tmp_path: Path, robots: object, robot: str | None) -> None:
    path = WRITERS["robomimic"](tmp_path, EPISODES)
    with h5py.File(path, "r+") as file:
        arguments = json.loads(file["data"].attrs["env_args"])
        arguments["env_kwargs"]["robots"] = robots
        file["data"].attrs["env_args"] = json.dumps(arguments)
    with open_source(path) as source:
        assert source.facts.robot == robot


def test_non_finite_actions_are_reported_and_summarized(tmp_path: Path) -> None:
    for format_name in ("ours", "robomimic"):
        path = WRITERS[format_name](tmp_path, EPISODES)
        with h5py.File(path, "r+") as file:
            file["data/demo_1/actions"][4, 2] = np.nan
        with open_source(path) as source:
            lines = summarize(path).lines() if format_name == "ours" else source_lines(source)
        assert "NON-FINITE      demo_1: 1 actions, the first at step 4" in lines
        assert "nan" not in "\n".join(lines)


@pytest.mark.parametrize(("option", "stated"), [("gripper", "open_one"), ("orientation", "mirrored")])
def test_a_stated_convention_that_contradicts_the_file_is_refused(ours: Path, option: str, stated: str) -> None:
    options = SourceOptions(**{option: stated})  # type: ignore[arg-type]
    with open_source(ours, options) as source, pytest.raises(ConventionError, match=f"--{option} {stated}"):
        require_stated_conventions([source], options)


@pytest.mark.parametrize("format_name", sorted(WRIST))
def test_damaged_metadata_is_reported(tmp_path: Path, format_name: str) -> None:
    whole = WRITERS[format_name](tmp_path, EPISODES)
    stored, damaged = whole.read_bytes(), tmp_path / "damaged.hdf5"
    signatures = [match.start() for match in re.finditer(b"OHDR|BTHD|BTLF|FRHP|FHDB|OCHK|TREE|HEAP|SNOD", stored)]
    failures = 0
    for start in signatures[:: max(1, len(signatures) // 40)]:
        damaged.write_bytes(stored[:start] + bytes(4) + stored[start + 4 :])
        try:
            with open_source(damaged) as source:
                source.require()
                for episode in source.episodes:
                    source.actions(episode.name)
        except VlaBenchError as error:
            failures += str(damaged) in str(error)
    assert failures
