"""`record`, `replay`, `render` and `demos ...` as they are typed."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tests.demos.other_formats import content, write_robomimic
from tests.demos.synthetic import demonstration, header
from vla_bench.cli import app
from vla_bench.demos import DemonstrationFile, write_demonstrations

TASK = "tabletop_pick.pick_red_cube"


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two demonstrations with a slip each, of two suites at once."""
    path = tmp_path_factory.mktemp("recorded") / "demos.hdf5"
    asked = ["-s", "tabletop_pick", "-t", "pick_red_cube", "-t", "robosuite.lift", "-n", "1", "--image-size", "32"]
    result = invoke("generate-demos", *asked, "--slips", "drop", "--segmentation", "-w", "2", "-o", path)
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture
def made(tmp_path: Path) -> Path:
    path = tmp_path / "made.hdf5"
    write_demonstrations(path, header(), [demonstration(index, success=index != 3) for index in range(8)])
    return path


def test_several_suites_are_one_file_with_everything_in_it(recorded: Path) -> None:
    with DemonstrationFile(recorded) as file:
        first, second = (file.read(name) for name in file.names)
        assert file.header.env_args["env_name"] == "vla_bench/tabletop_pick+robosuite"
    assert (first.identity.task_id, second.identity.task_id) == (TASK, "robosuite.lift")
    assert first.summary().slips == 1
    assert set(first.labels) >= {"nominal", "slip", "recovery"}
    assert first.segment_names[:2] == ("background", "robot")
    assert first.segmentation["wrist"].max() < len(first.segment_names)
    assert first.cameras["agentview"].pose_world.shape == (4, 4)
    assert first.cameras["wrist"].pose_world.shape == (first.steps, 4, 4)
    assert first.cameras["wrist"].intrinsics.shape == (3, 3)


def test_replay_says_how_many_still_succeed(recorded: Path) -> None:
    result = invoke("replay", recorded, "-w", "1")
    assert result.exit_code == 0, result.output
    assert "2 of 2 still succeed." in result.output
    assert "2 of 2 reach every recorded state bit for bit." in result.output


def test_replay_of_other_actions_fails_with_a_table(recorded: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.hdf5"
    shutil.copy(recorded, path)
    with h5py.File(path, "a") as file:
        file["data/demo_0/executed_actions"][5:] = 0.0
    result = invoke("replay", path, "--demo", "demo_0", "-w", "1")
    assert result.exit_code == 1
    assert "0 of 1 still succeed." in result.output
    assert "6 of" in result.output  # the first state that differs
    assert "failure" in result.output


def test_render_draws_what_is_asked_for(recorded: Path, tmp_path: Path) -> None:
    output = tmp_path / "new.hdf5"
    asked = ["--camera", "wrist", "--image-size", "40", "--depth", "--no-segmentation", "-w", "1"]
    result = invoke("render", recorded, *asked, "--output", output)
    assert result.exit_code == 0, result.output
    with DemonstrationFile(output) as file, DemonstrationFile(recorded) as before:
        one, was = file.read("demo_0"), before.read("demo_0")
    assert {name: images.shape for name, images in one.images.items()} == {"wrist": (was.steps, 40, 40, 3)}
    assert one.depth["wrist"].dtype == np.float32
    assert not one.segmentation
    assert one.labels == was.labels
    assert "was made with another configuration" in invoke("render", recorded, "--size", "64", "-o", output).stderr


def test_record_a_policy_then_the_recording(tmp_path: Path) -> None:
    asked = ["-t", TASK, "-n", "1", "--image-size", "24"]
    result = invoke("record", "--device", "policy", "-p", "expert", *asked, "-o", tmp_path / "policy.hdf5")
    assert result.exit_code == 0, result.output
    again = ["record", "--device", "recording", "--recording", tmp_path / "policy.hdf5", "--image-size", "32"]
    result = invoke(*again, "-o", tmp_path / "again.hdf5")
    assert result.exit_code == 0, result.output
    with DemonstrationFile(tmp_path / "policy.hdf5") as first, DemonstrationFile(tmp_path / "again.hdf5") as second:
        one, other = first.read("demo_0"), second.read("demo_0")
    assert (one.device, other.device) == ("policy expert", "recording policy.hdf5")
    np.testing.assert_array_equal(one.states, other.states)
    assert other.images["wrist"].shape[1] == 32


def test_merge_split_and_filter(made: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.hdf5"
    write_demonstrations(more, header(), [demonstration(index, task="push") for index in range(3)])
    result = invoke("demos", "merge", made, more, more, "-o", tmp_path / "both.hdf5")
    assert "both.hdf5: 11 demonstrations, 3 duplicates removed" in result.output
    result = invoke("demos", "split", tmp_path / "both.hdf5", "--valid", "0.3", "-o", tmp_path / "divided.hdf5")
    assert "7 demonstrations for training, 3 for validation" in result.output
    result = invoke("demos", "filter", tmp_path / "divided.hdf5", "--success", "-o", tmp_path / "kept.hdf5")
    assert "kept            10 of 11 demonstrations" in result.output
    assert "demo_3: failed after 11 steps" in result.output
    with DemonstrationFile(tmp_path / "kept.hdf5") as file:
        assert (len(file.mask("train")), len(file.mask("valid"))) == (7, 3)


def test_export(made: Path, tmp_path: Path) -> None:
    result = invoke("demos", "export", made, "--format", "lerobot", "-o", tmp_path / "lerobot")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "lerobot/meta/info.json").read_text())["total_episodes"] == 8
    assert "8 demonstrations" in invoke("inspect", tmp_path / "lerobot").output


def test_inspect_draws_foreign_demonstrations_too(tmp_path: Path) -> None:
    path = write_robomimic(tmp_path, [content()])
    result = invoke("inspect", path, "--videos", tmp_path / "videos")
    assert result.exit_code == 0, result.output
    assert path.with_suffix(".png").stat().st_size > 1000
    assert list((tmp_path / "videos").glob("*.mp4"))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["replay", "no_such.hdf5"], "no_such.hdf5: there is no such file."),
        (["render", "no_such.hdf5", "-o", "{output}"], "no_such.hdf5: there is no such file."),
        (["replay", "{made}", "--demo", "demo_99"], "no demonstration 'demo_99'; it has demo_0 to demo_7"),
        (["render", "{made}", "--cameras", "wrst", "-o", "{output}"], "No camera named 'wrst'. Did you mean 'wrist'"),
        (["demos", "merge", "{made}", "no_such.hdf5", "-o", "{output}"], "no_such.hdf5: there is no such file."),
        (["demos", "split", "{made}", "--valid", "2", "-o", "{output}"], "The validation fraction is 2.0"),
        (["demos", "filter", "{made}", "--length-score", "-1", "-o", "{output}"], "The length score is -1.0"),
        (["demos", "export", "{made}", "--format", "lerobt", "-o", "{output}"], "Did you mean 'lerobot'"),
        (["record", "--device", "keybord", "-o", "{output}"], "No device named 'keybord'. Did you mean 'keyboard'"),
        (["record", "--device", "policy", "-o", "{output}"], "--device policy needs --policy."),
        (["record", "--device", "expert", "-p", "noop", "-o", "{output}"], "--device expert does not accept --policy."),
        (["record", "--device", "expert", "-o", "{output}"], "No task was chosen. Expected a suite (--suite)"),
        (["generate-demos", "-o", "{output}"], "No task was chosen. Expected a suite (--suite) or a task (--task)"),
        (
            ["generate-demos", "-t", "lift", "-o", "{output}"],
            "--task lift needs the name of its suite, such as robosuite.lift.",
        ),
        (["generate-demos", "-t", TASK, "--camera", "wrst", "-o", "{output}"], "No camera named 'wrst'. Did you mean"),
        (["generate-demos", "-t", "robosuite.lft", "-o", "{output}"], "Did you mean 'robosuite.lift'"),
        (
            ["generate-demos", "-t", TASK, "--noise-yaw", "0.4", "-o", "{output}"],
            "cannot take effect without",
        ),
        (["generate-demos", "-t", TASK, "--slip-push", "0.4", "-o", "{output}"], "Add --slips drop"),
        (["generate-demos", "-t", TASK, "--image-size", "9000", "-o", "{output}"], "Expected 16 to 2048 pixels"),
        (["generate-demos", "-t", TASK, "-o", "."], "--output .: expected the name of a file or folder"),
        (["generate-demos", "-t", TASK, "-o", "/proc/x.hdf5"], "No such file or directory: /proc/"),
        (["generate-demos", "-t", TASK, "-o", "/"], "--output /: expected the name of a file or folder"),
        (["inspect", "/proc"], "/proc: this is a folder; expected an HDF5 file of demonstrations"),
        (["demos", "export", "{made}", "--gripper", "open_one", "-o", "{output}"], "itself states 'close_positive'"),
        (
            ["generate-demos", "-t", TASK, "--slip-chance", "2", "--slips", "drop", "-o", "{output}"],
            "Slip options are out of range",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_misuse_is_one_message_and_nothing_is_left(made: Path, arguments: list[str], text: str, tmp_path: Path) -> None:
    output = tmp_path / "out.hdf5"
    result = invoke(*(argument.format(output=output, made=made) for argument in arguments))
    assert result.exit_code == 2, result.output
    assert text in result.stderr
    assert "Traceback" not in result.output
    assert {entry.name for entry in tmp_path.iterdir()} <= {"made.hdf5"}
