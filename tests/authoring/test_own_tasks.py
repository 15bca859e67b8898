"""A researcher adds a task by ten lines of TOML in a folder of their own, and every part of the package finds it."""

import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import vla_bench
from tests.authoring.task_files import TEN_LINES, written
from vla_bench.core.errors import ConfigurationError
from vla_bench.core.files import TASKS_VARIABLE, data_folder
from vla_bench.demos import DemonstrationFile
from vla_bench.tasks import get_task, suites

OWN_OBJECT = """
noun = "block"
colour = "purple"
mjcf = "block.xml"
rgba = [0.45, 0.2, 0.6, 1.0]
grasp = { height_m = 0.0, yaw_symmetry_deg = 90.0 }
"""


@pytest.fixture(autouse=True)
def no_tasks_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TASKS_VARIABLE, "")  # what a test adds is forgotten after it


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a task file that speaks of an object of its own."""
    written(tmp_path, TEN_LINES.replace('"orange_mug"', '"purple_block"').replace("mug", "block"))
    objects = tmp_path / "envs" / "objects"
    objects.mkdir(parents=True)
    (objects / "purple_block.toml").write_text(OWN_OBJECT)
    (objects / "block.xml").write_text((data_folder("envs") / "objects" / "cube.xml").read_text())
    return tmp_path


def _vla_bench(*arguments: str | Path, tasks: Path | None = None) -> str:
    environment = {**os.environ, TASKS_VARIABLE: "" if tasks is None else str(tasks)}
    command = [sys.executable, "-m", "vla_bench", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_from_ten_lines_to_the_leaderboard(folder: Path) -> None:
    file, demos, run, tables = folder / "kitchen.toml", folder / "demos.hdf5", folder / "run", folder / "tables"
    small = ("--suite", "kitchen", "--episodes", "2", "--workers", "1")
    assert "10 of 10" in _vla_bench("check", file, tasks=file)
    assert "kitchen.block_on_plate" in _vla_bench("--tasks", file, "list", "tasks")
    _vla_bench("--tasks", file, "generate-demos", *small, "--image-size", "32", "--output", demos)
    with DemonstrationFile(demos) as kept:
        assert [(one.instruction, one.success) for one in kept] == [("put the block on the plate", True)] * 2
    _vla_bench("run", "--policy", "expert", *small, "--output", run, tasks=folder)
    _vla_bench("leaderboard", run, "--output", tables)  # which needs the task no more
    assert "block_on_plate" in (tables / "leaderboard.csv").read_text()
    _vla_bench("docs", "tasks", "--suite", "kitchen", "--output", folder / "page.md", tasks=file)
    assert "### kitchen.block_on_plate" in (folder / "page.md").read_text()
    assert (folder / "images" / "tasks" / "kitchen.block_on_plate.jpg").stat().st_size > 1000


def test_registered_tasks_are_environments(folder: Path) -> None:
    assert "kitchen" not in suites()
    vla_bench.register_tasks(folder / "kitchen.toml")
    assert "kitchen" in suites()
    assert get_task("kitchen.block_on_plate").objects["block"] == "purple_block"
    made = gymnasium.make("vla_bench/kitchen.block_on_plate-v1", image_size=32)
    observation, _ = made.reset(seed=0)
    assert observation["instruction"] == "put the block on the plate"
    colours = observation["images"]["agentview"].reshape(-1, 3).astype(int)
    assert np.any((colours[:, 2] > colours[:, 1] + 40) & (colours[:, 2] > colours[:, 0])), "nothing purple to see"
    made.close()
    del gymnasium.registry["vla_bench/kitchen.block_on_plate-v1"]


def test_registering_twice_is_registering_once(folder: Path, recwarn: pytest.WarningsRecorder) -> None:
    vla_bench.register_tasks(folder)
    before = os.environ[TASKS_VARIABLE]
    vla_bench.register_tasks(folder)
    assert os.environ[TASKS_VARIABLE] == before
    assert list(recwarn) == []
    del gymnasium.registry["vla_bench/kitchen.block_on_plate-v1"]


def test_a_file_that_is_not_there_is_told_with_the_variable(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError,
        match=rf"none\.toml: .* does not exist\. Expected an existing file or folder in {TASKS_VARIABLE}",
    ):
        vla_bench.register_tasks(tmp_path / "none.toml")
    assert suites()  # the others are as usable as before


def test_the_name_of_a_suite_that_there_is_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, TEN_LINES.replace("kitchen", "robosuite"))
    with pytest.raises(ConfigurationError, match=r"kitchen\.toml: field `suite`: another file has .* 'robosuite'"):
        vla_bench.register_tasks(path)


def test_the_name_of_an_object_that_there_is_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vla_bench.envs.descriptions import describe_object

    objects = folder / "envs" / "objects"
    (objects / "purple_block.toml").rename(objects / "plate.toml")
    monkeypatch.setenv(TASKS_VARIABLE, str(folder))
    with pytest.raises(ConfigurationError, match=r"plate\.toml: .*describes another object named 'plate'"):
        describe_object.__wrapped__("plate")
