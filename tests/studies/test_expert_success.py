"""The study of all tasks resumes without repeating trials and marks outdated rows."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import vla_bench
from vla_bench.authoring.page import read_rows, write_rows

ROOT = Path(vla_bench.__file__).parent.parent
TASK = "tabletop_pick.pick_red_cube"
KEY = (TASK, "panda")


def _run(output: Path, *arguments: str) -> list[str]:
    """Run the script and return the lines of its output."""
    script = [sys.executable, str(ROOT / "studies" / "expert_success.py"), "--output", str(output)]
    options = ["--task", TASK, "--workers", "1", "--demonstrations", "0", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*script, *options], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.replace("\r", "\n").splitlines()


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a table of two episodes."""
    output = tmp_path_factory.mktemp("table") / "tasks"
    lines = _run(output, "--seeds", "2")
    assert sum("min left" in line for line in lines) == 4  # two of the expert and two of the blind expert
    return output


def test_table_and_page_report_the_trials(output: Path) -> None:
    row = read_rows(output.with_suffix(".csv"))[KEY]
    assert (row.episodes, row.successes, row.blind_episodes, row.begin_alike, row.horizon) == (2, 2, 2, 5, 120)
    assert row.failed_episodes == ()
    assert row.longest_steps is not None
    assert row.mean_steps is not None
    assert 20 < row.mean_steps <= row.longest_steps < 60
    page = output.with_suffix(".md").read_text()
    assert f"| `{TASK}` | 2 | 100.0 % | 34.2 to 100.0 |" in page
    assert "- Failures of the expert, by index: none" in page
    assert f"- Command: `python studies/expert_success.py --output {output}" in page


def test_run_adds_missing_trials_only(output: Path) -> None:
    lines = _run(output, "--seeds", "3")
    assert sum("min left" in line for line in lines) == 2
    assert read_rows(output.with_suffix(".csv"))[KEY].episodes == 3
    assert not any("min left" in line for line in _run(output, "--seeds", "3"))


def test_other_rows_are_kept_and_outdated_ones_marked(output: Path) -> None:
    rows = read_rows(output.with_suffix(".csv"))
    stale = replace(rows[KEY], task="tabletop_pick.pick_blue_can", fingerprint="outdated")
    gone = replace(stale, task="tabletop_pick.pick_nothing")
    write_rows(output.with_suffix(".csv"), [*rows.values(), stale, gone], {})
    _run(output, "--seeds", "3")
    page = output.with_suffix(".md").read_text()
    assert "| `tabletop_pick.pick_blue_can` † |" in page
    assert f"| `{TASK}` |" in page
    assert "pick_nothing" not in page
