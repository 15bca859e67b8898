from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.results.made_up import episodes, made_run
from vla_bench.cli import app
from vla_bench.results.ledger import LEDGER_NAME


def invoked(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.output


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return made_run(tmp_path / "runs" / "a", episodes("ssf" * 60), planned={"lift": 180})


def test_every_table_is_made_again_from_the_ledgers_and_checked(run: Path) -> None:
    folder = run.parent.parent
    assert invoked("tables", run, "--check")[0] == 1, "no table exists yet"
    status, output = invoked("tables", run)
    assert status == 0, output
    assert (folder / "leaderboard.md").is_file()
    status, output = invoked("tables", run, "--check")
    assert status == 0, output
    assert output.count("equal to the ledgers") == 6
    table = folder / "leaderboard.csv"
    table.write_text(table.read_text().replace("180", "200", 1))
    status, output = invoked("tables", run, "--check")
    assert status == 1
    assert "line 2 is" in output


def test_the_errors_of_a_run_are_shown_with_a_traceback_of_each_kind(tmp_path: Path) -> None:
    run = made_run(tmp_path / "a", episodes("esee"))
    status, output = invoked("ledger", "errors", run)
    assert status == 0
    assert output.startswith("3 of 4 episodes of ")
    assert "3 x RuntimeError: EGL <lost>\nThe first, lift/clean/0/0:\nTraceback\nRuntimeError: EGL <lost>\n" in output


def test_a_damaged_ledger_is_reported_with_the_command_that_regenerates_it(run: Path) -> None:
    path = run / LEDGER_NAME
    path.write_bytes(path.read_bytes()[:-8192])
    status, output = invoked("tables", run)
    assert status == 2
    assert "Episodes can be regenerated: `mkdir " in output
