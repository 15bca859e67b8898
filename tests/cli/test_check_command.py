"""`vla-bench check` tells everything in plain lines and says by its exit status whether there are errors."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.authoring.task_files import TEN_LINES, TWO_TASKS, written
from vla_bench.cli import app

SHORT = ("--seeds", "1", "--no-expert")


@pytest.mark.parametrize(
    ("text", "status", "counts"),
    [
        (TWO_TASKS, 0, "0 errors, 0 warnings"),
        (TEN_LINES, 0, "0 errors, 2 warnings"),
        (TEN_LINES.replace('"on(mug', '"onn(mug').replace("horizon", "horizn"), 2, "2 errors, 2 warnings"),
        (TEN_LINES.replace("horizon", "horizn"), 2, "1 error, 2 warnings"),
    ],
    ids=["sound", "warnings", "errors", "one error"],
)
def test_the_status_is_2_for_errors_alone(tmp_path: Path, text: str, status: int, counts: str) -> None:
    path = written(tmp_path, text)
    result = CliRunner().invoke(app, ["check", str(path), *SHORT])
    assert result.exit_code == status, result.output
    lines = result.stderr.strip().splitlines()
    assert lines[-1] == f"{path}: {counts}"
    told = [line for line in lines if line.startswith(("error: ", "warning: "))]
    assert len(told) == sum(int(part.split()[0]) for part in counts.split(", "))
    assert told == sorted(told, key=lambda line: line.startswith("warning"))  # errors first


def test_several_files_are_checked_though_the_first_is_wrong(tmp_path: Path) -> None:
    wrong = written(tmp_path, TEN_LINES.replace("horizon", "horizn"), "wrong.toml")
    sound = written(tmp_path, TWO_TASKS)
    result = CliRunner().invoke(app, ["check", str(wrong), str(sound), *SHORT])
    assert result.exit_code == 2
    assert "mug_on_plate" in result.stdout
    assert f"{sound}: 0 errors, 0 warnings" in result.stderr


def test_a_table_shows_the_expert_and_the_chance_without_language(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(written(tmp_path, TWO_TASKS)), "--seeds", "2"])
    assert result.exit_code == 0, result.output
    (row,) = (line for line in result.stdout.splitlines() if "mug_on_plate" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")][1] == "2 of 2"
    assert row.rstrip(" │").endswith("50%")
