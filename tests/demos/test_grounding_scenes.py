"""Static scenes: random, reproducible, and with true positions."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import OutputMismatchError, UnknownNameError
from vla_bench.demos import write_demonstrations
from vla_bench.demos.grounding_scenes import (
    SceneFactory,
    SceneFileError,
    SceneOptions,
    Scenes,
    make_scenes,
    positions_in_demonstrations,
    read_scenes,
)
from vla_bench.demos.options import CollectOptions
from vla_bench.demos.recording import DeviceRecorder
from vla_bench.tasks import get_task

_TASK = get_task("tabletop_object.red_cube_in_basket")
_COUNT, _SIZE = 12, 32
_AGENTVIEW = 0  # the first camera


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> SceneOptions:
    made = SceneOptions(_TASK.id, _COUNT, tmp_path_factory.mktemp("scenes") / "scenes.hdf5", 3, _SIZE, workers=1)
    done: list[int] = []
    make_scenes(made, done.append)
    assert done[-1] == _COUNT
    return made


@pytest.fixture(scope="module")
def scenes(options: SceneOptions) -> Scenes:
    return read_scenes(options.output)


def test_a_scene_file_holds_images_and_true_positions(scenes: Scenes) -> None:
    assert scenes.items == tuple(_TASK.objects)
    assert scenes.nouns == tuple(item.replace("_", " ") for item in _TASK.objects)
    assert dict(zip(scenes.items, scenes.colours, strict=True))["milk_box"] == "white"
    assert scenes.images.shape == (_COUNT, 2, _SIZE, _SIZE, 3)
    assert scenes.segments.shape == (_COUNT, 2, _SIZE, _SIZE)
    assert scenes.proprioception.shape == (_COUNT, 25)
    assert scenes.positions_world.shape == (_COUNT, len(scenes.items), 3)
    assert scenes.images.std() > 20


def test_segmentation_agrees_with_positions(scenes: Scenes) -> None:
    """Check columns of the image: the camera faces the robot, so that a larger y is further right."""
    columns, places = [], []
    for scene in range(_COUNT):
        for item in range(len(scenes.items)):
            _, seen = np.nonzero(scenes.segments[scene, _AGENTVIEW] == item + 1)
            if len(seen) >= 4:
                columns.append(seen.mean())
                places.append(scenes.positions_world[scene, item, 1])
    assert len(columns) > 4 * _COUNT
    assert np.corrcoef(columns, places)[0, 1] > 0.97


def test_visible_items_have_their_color(scenes: Scenes) -> None:
    red = scenes.images[scenes.segments == 1 + scenes.items.index("red_cube")].astype(int)
    assert len(red) > 20
    assert np.median(red[:, 0] - red[:, 1:].max(axis=1)) > 60


def test_the_gripper_varies_and_sometimes_holds_an_object(scenes: Scenes) -> None:
    gripper = scenes.proprioception[:, :3]
    assert np.ptp(gripper, axis=0).min() > 0.1
    assert np.all(gripper[:, 2] > 0.8)
    nearest = np.linalg.norm(scenes.positions_world - gripper[:, None], axis=2).min(axis=1)
    held = nearest < 0.012
    assert 0 < held.sum() < _COUNT


def test_objects_are_sometimes_delivered(scenes: Scenes) -> None:
    receivers = [scenes.items.index(name) for name in ("basket", "plate")]
    others = [index for index in range(len(scenes.items)) if index not in receivers]
    offsets = scenes.positions_world[:, others, None] - scenes.positions_world[:, None, receivers]
    delivered = (np.linalg.norm(offsets[..., :2], axis=-1) < 0.06).any(axis=(1, 2))
    assert 0 < delivered.sum() < _COUNT


def test_seed_and_index_determine_a_scene(options: SceneOptions, scenes: Scenes) -> None:
    again = SceneFactory(options)()(_COUNT - 2)  # in this process, without earlier scenes
    assert np.array_equal(again.images, scenes.images[-2:])
    assert np.array_equal(again.segments, scenes.segments[-2:])
    assert np.array_equal(again.positions_world, scenes.positions_world[-2:])
    assert np.array_equal(again.proprioception, scenes.proprioception[-2:])
    other = SceneFactory(replace(options, seed=4))()(_COUNT - 2)
    assert not np.array_equal(other.positions_world, again.positions_world)


def test_an_existing_scene_file_is_used(options: SceneOptions) -> None:
    before = options.output.stat()
    make_scenes(replace(options, workers=2), lambda done: pytest.fail("made again"))
    assert options.output.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"seed": 4}, "seed 3, not 4"),
        ({"count": 13}, "count 12, not 13"),
        ({"image_size": 48}, "image_size 32, not 48"),
        ({"task": "tabletop_pick.pick_red_cube"}, "not tabletop_pick.pick_red_cube"),
    ],
)
def test_scenes_of_other_options_are_refused(options: SceneOptions, change: dict[str, object], difference: str) -> None:
    with pytest.raises(OutputMismatchError, match=f"made with another configuration: .*{difference}"):
        make_scenes(replace(options, **change))  # type: ignore[arg-type]


def _garbage(path: Path) -> None:
    path.write_bytes(b"not HDF5")


def _foreign(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "something"


def _incomplete(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "vla_bench_scenes"
        for name in ("items", "nouns", "colours"):
            file.attrs[name] = ["cube"]


@pytest.mark.parametrize(
    ("write", "problem"),
    [(_garbage, "file signature not found"), (_foreign, "its format is 'something'"), (_incomplete, "images")],
)
def test_another_file_is_refused(tmp_path: Path, write: Callable[[Path], None], problem: str) -> None:
    path = tmp_path / "scenes.hdf5"
    write(path)
    with pytest.raises(SceneFileError, match=rf"{path} is not a scene file: .*{problem}.*\. Move the file away"):
        read_scenes(path)


def test_a_missing_scene_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SceneFileError, match="No such file"):
        read_scenes(tmp_path / "scenes.hdf5")


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demonstrations") / "demos.hdf5"
    recorder = DeviceRecorder(CollectOptions((_TASK.suite,), path, image_size=_SIZE, cameras=("wrist",)))
    episodes = [recorder(EpisodeIdentity(_TASK.suite, _TASK.name, index)) for index in range(2)]
    write_demonstrations(path, recorder.header(), episodes)
    return path


def test_positions_in_demonstrations_are_those_of_every_step(demonstrations: Path) -> None:
    positions = positions_in_demonstrations(demonstrations, ("basket", "red_cube"))
    assert list(positions) == ["demo_0", "demo_1"]
    for found in positions.values():
        basket, cube = found[:, 0], found[:, 1]
        assert len(found) > 30
        assert np.ptp(basket, axis=0).max() < 0.01
        assert abs(cube[0, 1] - basket[0, 1]) > 0.1
        assert np.linalg.norm((cube - basket)[-1, :2]) < 0.09  # delivered
        assert cube[:, 2].max() > cube[0, 2] + 0.06  # carried
        assert np.linalg.norm(np.diff(cube, axis=0), axis=1).max() < 0.05  # in order of time


def test_an_unknown_item_is_reported(demonstrations: Path) -> None:
    with pytest.raises(UnknownNameError, match="No object in this scene named 'bowl'"):
        positions_in_demonstrations(demonstrations, ("red_cube", "bowl"))
