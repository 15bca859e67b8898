"""The command line: one clear message and exit status 2 for errors that a user can fix; commands work as described."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from tests.training.trained import logits, train
from vla_bench import __version__
from vla_bench.cli import app
from vla_bench.models.adapters import load_finetuned
from vla_bench.results.ledger import read_ledger

COMMANDS = sorted(typer.main.get_group(app).commands)
EVALUATE = ["run", "--policy", "random", "--suite", "tabletop_pick", "--output", "{output}"]
GENERATE = ["generate-demos", "--suite", "tabletop_pick", "--output", "{output}"]


def _invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def _vla_bench(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "vla_bench", *map(str, arguments)]


def test_version() -> None:
    assert _invoke("--version").output == f"vla-bench {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_command(command: str) -> None:
    result = _invoke(command, "--help")
    assert result.exit_code == 0
    assert command in _invoke("--help").output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["list", "tasks", "--suite", "tabletop_pik"], "No suite named 'tabletop_pik'. Did you mean 'tabletop_pick'"),
        ([*EVALUATE, "--policy", "randon"], "No policy named 'randon'. Did you mean 'random'?"),
        ([*EVALUATE, "--suite", "tabletop_objekt"], "No suite named 'tabletop_objekt'. Did you mean 'tabletop_object'"),
        ([*EVALUATE, "--task", "pick_red_cub"], "named 'pick_red_cub'. Did you mean 'pick_red_cube'"),
        ([*GENERATE, "--suite", "tabletop_objekt"], "No suite named 'tabletop_objekt'. Did you mean 'tabletop_object'"),
        ([*GENERATE, "--task", "pick_red_cub"], "named 'pick_red_cub'. Did you mean 'pick_red_cube'"),
        ([*EVALUATE, "--robot", "pnada"], "No robot named 'pnada'. Did you mean 'panda'?"),
        ([*GENERATE, "--robot", "ur5"], "No robot named 'ur5'. Did you mean 'ur5e'?"),
        ([*EVALUATE, "--policy", "nowhere.toml"], "No policy card nowhere.toml"),
        ([*EVALUATE, "--checkpoint", "no/such/folder"], "Checkpoint no/such/folder: the folder does not exist"),
        (["inspect", "no_such_file.hdf5"], "no_such_file.hdf5"),
        (["merge", "no_such_adapter", "--output", "{output}"], "Checkpoint no_such_adapter: the folder does not exist"),
        (["finetune", "--plan", "--method", "loar"], "No fine-tuning method named 'loar'. Did you mean 'lora'"),
        (["finetune", "--plan", "--base", "openvla-8b"], "named 'openvla-8b'. Did you mean 'openvla-7b'"),
        (["finetune", "--plan", "--target", "q_prj"], "named 'q_prj'. Did you mean 'q_proj'"),
        (["leaderboard", "no_such_run", "--output", "{output}"], "no_such_run is not a readable run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_misuse_is_one_message_and_status_2(arguments: list[str], text: str, tmp_path: Path) -> None:
    output = tmp_path / "out"
    result = _invoke(*(argument.format(output=output) for argument in arguments))
    assert result.exit_code == 2, result.output
    assert text in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.output
    assert not output.exists()


def test_misuse_of_the_installed_command_has_status_2_and_no_traceback() -> None:
    command = _vla_bench("list", "tasks", "--suite", "tabletop_pik")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("No suite named 'tabletop_pik'. Did you mean 'tabletop_pick'")
    assert done.stdout == ""


@pytest.mark.parametrize("output", ["/dev/null/demos.hdf5", "/dev/null/deeper/demos.hdf5"])
def test_a_place_that_cannot_be_written_to_is_told_without_a_traceback(output: str) -> None:
    result = _invoke(*(argument.format(output=output) for argument in GENERATE))
    assert result.exit_code == 2
    assert "/dev/null" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_lists_name_what_is_there() -> None:
    assert "tabletop_pick.pick_red_cube" in _invoke("list", "tasks").output
    assert "tabletop_pick.pick_red_cube" not in _invoke("list", "tasks", "--suite", "robosuite").output
    assert "lora-openvla" in _invoke("list", "policies").output
    assert "robosuite" in _invoke("list", "suites").output
    assert "UR5e" in _invoke("list", "robots").output


def test_run_then_leaderboard(tmp_path: Path) -> None:
    run, tables = tmp_path / "run", tmp_path / "tables"
    asked = ["--suite", "tabletop_pick", "--task", "pick_red_cube", "--task", "pick_blue_can", "--episodes", "1"]
    result = _invoke("run", "--policy", "noop", *asked, "--workers", "1", "--output", run)
    assert result.exit_code == 0, result.output
    assert "pick_blue_can" in result.output
    result = _invoke("leaderboard", run, "--output", tables)
    assert result.exit_code == 0, result.output
    assert (tables / "leaderboard.csv").read_text().count("noop,") == 3  # two tasks and all
    assert str(tables / "report.html") in result.output


def test_another_seed_on_the_same_output_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    asked = ["run", "--policy", "noop", "--suite", "tabletop_pick", "--task", "pick_red_cube", "--episodes", "1"]
    asked += ["--workers", "1", "--output", str(tmp_path / "run")]
    assert _invoke(*asked).exit_code == 0
    ledger, description = tmp_path / "run" / "ledger.sqlite", tmp_path / "run" / "run.json"
    before = read_ledger(ledger), description.read_bytes()
    result = _invoke(*asked, "--seed", "1")
    assert result.exit_code == 2
    assert "was made with another configuration: seed" in result.stderr
    pd.testing.assert_frame_equal(read_ledger(ledger), before[0])
    assert description.read_bytes() == before[1]


def test_generate_then_inspect(tmp_path: Path) -> None:
    demos = tmp_path / "demos.hdf5"
    asked = ["--suite", "tabletop_pick", "--task", "pick_red_cube", "--episodes", "2", "--image-size", "48"]
    result = _invoke("generate-demos", *asked, "--workers", "1", "--output", demos)
    assert result.exit_code == 0, result.output
    result = _invoke("inspect", demos, "--videos", tmp_path / "videos")
    assert result.exit_code == 0, result.output
    assert "2 demonstrations" in result.output
    assert (tmp_path / "demos.png").stat().st_size > 1000
    assert len(list((tmp_path / "videos").glob("*.mp4"))) == 2


def test_ctrl_c_keeps_what_is_finished_and_says_so(tmp_path: Path) -> None:
    demos = tmp_path / "demos.hdf5"
    asked = ["--suite", "tabletop_pick", "--episodes", "200", "--image-size", "32", "--workers", "1"]
    command = _vla_bench("generate-demos", *asked, "--output", demos)
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background ignores it
    )
    try:
        deadline = time.monotonic() + 90
        while not list(tmp_path.glob("demos.hdf5.parts/*.hdf5")) and time.monotonic() < deadline:
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "are stored in" in errors
    assert "Traceback" not in errors
    assert list(tmp_path.glob("demos.hdf5.parts/*.hdf5"))


@pytest.mark.parametrize(
    ("method", "text"), [("dora", "a full checkpoint"), ("adapter", "adapter and base in one folder")]
)
def test_merge_says_what_it_wrote_and_writes_it_once(method: str, text: str, tmp_path: Path) -> None:
    network = train(tmp_path, method)
    result = _invoke("merge", network.output, "--output", tmp_path / "merged")
    assert result.exit_code == 0, result.output
    assert text in result.output
    assert torch.equal(logits(load_finetuned(tmp_path / "merged")).argmax(-1), logits(network.checkpoint).argmax(-1))
    again = _invoke("merge", network.output, "--output", tmp_path / "merged")
    assert again.exit_code == 2
    assert "merged already exists and was not changed" in again.output
