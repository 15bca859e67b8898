"""Demonstrations say whose they are, and networks that are shown them learn it."""

from pathlib import Path

import pytest

import vla_bench
from tests.demos.synthetic import header
from vla_bench.demos import CollectOptions, DemonstrationFile, collect
from vla_bench.demos.header import FileHeader
from vla_bench.demos.sources import SourceOptions, open_sources
from vla_bench.training.dataset import robot_of

_TASK = "pick_red_cube"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One demonstration of each robot."""
    folder = tmp_path_factory.mktemp("robots")
    paths = {robot: folder / f"{robot}.hdf5" for robot in ("panda", "ur5e")}
    for robot, path in paths.items():
        collect(CollectOptions(("tabletop_pick",), path, (_TASK,), episodes=1, image_size=32, robot=robot))
    return paths


def test_a_file_says_whose_actions_it_holds_and_holds_its_proprioception(recorded: dict[str, Path]) -> None:
    for robot, path in recorded.items():
        made = vla_bench.make(f"tabletop_pick.{_TASK}", cameras=(), robot=robot)
        with DemonstrationFile(path) as file:
            assert file.header.robot == robot
            assert file.header.proprioception_fields == made.proprioception_fields
            demonstration = file.read(file.names[0], ())
        assert demonstration.proprioception.shape == (demonstration.steps, {"panda": 25, "ur5e": 27}[robot])
        assert demonstration.success


def test_training_knows_whose_actions_it_learns(recorded: dict[str, Path]) -> None:
    def robot(*names: str) -> str | None:
        with open_sources([recorded[name] for name in names], SourceOptions()) as sources:
            return robot_of(sources)

    assert robot("ur5e") == "ur5e"
    assert robot("panda", "panda") == "panda"
    assert robot("panda", "ur5e") is None


def test_a_file_from_before_there_were_two_is_the_pandas() -> None:
    attributes = header().to_attributes()
    assert "robot" not in str(attributes["env_args"])
    assert FileHeader.from_attributes(Path("demos.hdf5"), attributes).robot == "panda"
