"""`vla-bench benchmark`: lists, refuses with one message, checks with an exit status."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.performance.made_up_records import figure, record
from vla_bench.cli import app
from vla_bench.performance import scaling
from vla_bench.performance.record import read_record
from vla_bench.performance.registry import Measure, MeasureSettings, measures


def _invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["benchmark", *map(str, arguments)])


@pytest.fixture(autouse=True)
def speed(monkeypatch: pytest.MonkeyPatch) -> list[MeasureSettings]:
    """A measure that takes no time: its ratio is 10. Return the settings it was taken with."""
    settings: list[MeasureSettings] = []

    def taken(setting: MeasureSettings) -> list[object]:
        settings.append(setting)
        return [figure("ratio", 10.0, 10.0)]

    len(measures)  # discovered before one is added
    monkeypatch.setitem(measures._members, "speed", Measure("Speed", taken))  # type: ignore[arg-type]
    return settings


def test_list_names_measures_and_peers() -> None:
    result = _invoke("--list")
    assert result.exit_code == 0
    for name in ("tabletop-images", "demonstrations", "metaworld", "libero"):
        assert name in result.output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--only", "tabletop-image"], "No measure named 'tabletop-image'. Did you mean 'tabletop-images'"),
        (["--only", "speed", "--peer", "metaword=python"], "No peer named 'metaword'. Did you mean 'metaworld'?"),
        (["--only", "speed", "--peer", "libero=/no/python"], "--peer libero=/no/python: /no/python is no program."),
        (["--only", "speed", "--peer", "libero"], "Expected libero=/path/to/python"),
        (["--only", "speed", "--check", "--record", "no.json"], "no.json: cannot be read: No such file or directory."),
    ],
)
def test_misuse_is_one_message_and_nothing_is_measured(
    arguments: list[str], text: str, speed: list[MeasureSettings]
) -> None:
    result = _invoke(*arguments)
    assert result.exit_code == 2
    assert text in result.stderr
    assert "Traceback" not in result.output
    assert not speed


def test_a_part_is_written_only_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _invoke("--only", "speed").exit_code == 0
    assert list(tmp_path.iterdir()) == []
    assert _invoke("--only", "speed", "--output", tmp_path / "out").exit_code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"performance.md", "performance.json"}
    assert read_record(tmp_path / "out" / "performance.json").figures()["speed.ratio"].median == 10.0


@pytest.mark.parametrize(("then", "status", "text"), [(10.0, 0, "Nothing is worse"), (20.0, 1, "1 of 1 worse.")])
def test_check_ends_with_the_status(then: float, status: int, text: str, tmp_path: Path) -> None:
    path = record(figure("ratio", then)).write(tmp_path)
    result = _invoke("--only", "speed", "--check", "--record", path)
    assert result.exit_code == status, result.output
    assert text in result.output
    assert read_record(path).figures()["speed.ratio"].median == then  # the record is left as it was


def test_quick_turns_are_short(speed: list[MeasureSettings]) -> None:
    _invoke("--only", "speed", "--quick", "--turns", "3", "--workers", "1")
    assert (speed[0].turns, speed[0].workers) == (3, 1)
    assert speed[0].seconds < MeasureSettings().seconds


def test_a_measure_that_fails_says_so_and_the_status_is_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(setting: MeasureSettings) -> list[object]:
        raise ZeroDivisionError("no steps")

    monkeypatch.setitem(measures._members, "speed", Measure("Speed", failing))  # type: ignore[arg-type]
    result = _invoke("--only", "speed")
    assert result.exit_code == 1
    assert "speed: not run: it failed: ZeroDivisionError: no steps" in result.output


def test_growth_that_fails_costs_no_measure_and_leaves_nothing_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(setting: MeasureSettings) -> tuple[object, ...]:
        (setting.workspace / "episodes").mkdir()
        raise ZeroDivisionError("no episodes")

    monkeypatch.setattr(scaling, "measure_scaling", failing)
    monkeypatch.chdir(tmp_path)
    result = _invoke("--only", "speed", "--growth", "--output", "there")
    assert result.exit_code == 1
    assert "growth: not run: it failed: ZeroDivisionError: no episodes" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    (first, second) = read_record(tmp_path / "there" / "performance.json").outcomes
    assert (first.measure, second.measure, second.failed) == ("speed", "growth", True)


def test_a_record_says_the_command_without_where_pythons_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["vla-bench", "benchmark", "--peer", "metaworld=/home/me/bin/python", "--turns", "3"]
    monkeypatch.setattr("sys.argv", typed)
    _invoke("--only", "speed", "--output", tmp_path)
    told = read_record(tmp_path / "performance.json").command
    assert told == "vla-bench benchmark --peer metaworld=PYTHON --turns 3"


def test_a_benchmark_that_is_stopped_says_that_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(setting: MeasureSettings) -> list[object]:
        raise KeyboardInterrupt

    monkeypatch.setitem(measures._members, "speed", Measure("Speed", stopped))  # type: ignore[arg-type]
    result = _invoke("--only", "speed", "--output", tmp_path / "there")
    assert result.exit_code == 130
    assert "keeps no figures of a run that was stopped" in result.output
    assert not (tmp_path / "there").exists()
