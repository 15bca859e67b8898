from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.results.made_up import episodes, made_run
from vla_bench.cli import app


def compare(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    outcomes = {"good": "s" * 20, "bad": "s" * 5 + "f" * 15, "worse": "f" * 20}
    return [made_run(tmp_path / name, episodes(letters, policy=name)) for name, letters in outcomes.items()]


def test_two_runs_have_a_table_and_a_verdict(runs: list[Path]) -> None:
    result = compare(*runs[:2])
    assert result.exit_code == 0, result.output
    assert "good is better than bad: +75.0 points" in result.output
    assert "+75.0 [" in result.output


def test_several_runs_have_ranks(runs: list[Path]) -> None:
    result = compare(*runs)
    assert result.exit_code == 0, result.output
    assert "robosuite: ranks" in result.output
    assert "2 to 3" in result.output  # 5 of 20 against none: p 0.0625
    assert "bad and worse are not significantly different" in result.output


def test_files_are_written_where_asked(runs: list[Path], tmp_path: Path) -> None:
    files = {option: tmp_path / "out" / f"comparison.{option}" for option in ("csv", "markdown", "latex")}
    result = compare(*runs, *(text for option, path in files.items() for text in (f"--{option}", path)))
    assert result.exit_code == 0, result.output
    assert files["csv"].read_text().startswith("suite,variant,first,second,task,pairs,")
    assert "## robosuite: bad against worse" in files["markdown"].read_text()
    assert "\\toprule" in files["latex"].read_text()
    for path in files.values():
        assert str(path) in result.output


def test_a_wanted_difference_is_planned_for(runs: list[Path]) -> None:
    assert "For 2.5 points: " in compare(*runs[1:], "--difference", "2.5").output


def test_runs_that_cannot_be_compared_are_one_message_and_no_file(runs: list[Path], tmp_path: Path) -> None:
    other = made_run(tmp_path / "other", episodes("ss", policy="other", seed=3))
    result = compare(runs[0], other, "--csv", tmp_path / "out.csv")
    assert result.exit_code == 2
    assert "have 0 episodes in common" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out.csv").exists()
