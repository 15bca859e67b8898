"""The command `vla-bench benchmark`: listing, error messages, output files and exit statuses."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.performance.example_records import metric, record
from vla_bench.cli import app
from vla_bench.performance import scaling
from vla_bench.performance.record import read_record
from vla_bench.performance.registry import Measure, MeasureSettings, measures


def _invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["benchmark", *map(str, arguments)])


@pytest.fixture(autouse=True)
def speed(monkeypatch: pytest.MonkeyPatch) -> list[MeasureSettings]:
    """Register an immediate measure with a ratio of 10; return the settings of its calls."""
    settings: list[MeasureSettings] = []

    def measured(setting: MeasureSettings) -> list[object]:
        settings.append(setting)
        return [metric("ratio", 10.0, 10.0)]

    len(measures)  # discovers the registered measures before one is added
    monkeypatch.setitem(measures._members, "speed", Measure("Speed", measured))  # type: ignore[arg-type]
    return settings


def test_list_prints_measures_and_peers() -> None:
    result = _invoke("--list")
    assert result.exit_code == 0
    for name in ("tabletop-images", "demonstrations", "metaworld", "libero"):
        assert name in result.output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--only", "tabletop-image"], "No measure named 'tabletop-image'. Did you mean 'tabletop-images'"),
        (["--only", "speed", "--peer", "metaword=python"], "No peer named 'metaword'. Did you mean 'metaworld'?"),
        (["--only", "speed", "--peer", "libero=/no/python"], "--peer libero=/no/python: /no/python is not a program."),
        (["--only", "speed", "--peer", "libero"], "Expected libero=/path/to/python"),
        (
            ["--only", "speed", "--check", "--record", "no.json"],
            "no.json: the file cannot be read: No such file or directory.",
        ),
    ],
)
def test_invalid_options_give_one_message_and_measure_nothing(
    arguments: list[str], text: str, speed: list[MeasureSettings]
) -> None:
    result = _invoke(*arguments)
    assert result.exit_code == 2
    assert text in result.stderr
    assert "Traceback" not in result.output
    assert not speed


def test_selected_measures_are_written_to_the_output_folder_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _invoke("--only", "speed").exit_code == 0
    assert list(tmp_path.iterdir()) == []
    assert _invoke("--only", "speed", "--output", tmp_path / "out").exit_code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"performance.md", "performance.json"}
    assert read_record(tmp_path / "out" / "performance.json").figures()["speed.ratio"].median == 10.0


@pytest.mark.parametrize(("then", "status", "text"), [(10.0, 0, "Nothing is worse"), (20.0, 1, "1 of 1 worse.")])
def test_check_reports_regressions_in_the_exit_status(then: float, status: int, text: str, tmp_path: Path) -> None:
    path = record(metric("ratio", then)).write(tmp_path)
    result = _invoke("--only", "speed", "--check", "--record", path)
    assert result.exit_code == status, result.output
    assert text in result.output
    assert read_record(path).figures()["speed.ratio"].median == then  # unchanged


def test_quick_turns_are_shorter(speed: list[MeasureSettings]) -> None:
    _invoke("--only", "speed", "--quick", "--turns", "3", "--workers", "1")
    assert (speed[0].turns, speed[0].workers) == (3, 1)
    assert speed[0].seconds < MeasureSettings().seconds


def test_failed_measure_is_reported_with_exit_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(setting: MeasureSettings) -> list[object]:
        raise ZeroDivisionError("no steps")

    monkeypatch.setitem(measures._members, "speed", Measure("Speed", failing))  # type: ignore[arg-type]
    result = _invoke("--only", "speed")
    assert result.exit_code == 1
    assert "speed: not run: the measure failed with ZeroDivisionError: no steps" in result.output


def test_failed_scaling_keeps_the_measures_and_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(setting: MeasureSettings) -> tuple[object, ...]:
        (setting.workspace / "episodes").mkdir()
        raise ZeroDivisionError("no episodes")

    monkeypatch.setattr(scaling, "measure_scaling", failing)
    monkeypatch.chdir(tmp_path)
    result = _invoke("--only", "speed", "--growth", "--output", "there")
    assert result.exit_code == 1
    assert "scaling: not run: the measure failed with ZeroDivisionError: no episodes" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    (first, second) = read_record(tmp_path / "there" / "performance.json").outcomes
    assert (first.measure, second.measure, second.failed) == ("speed", "scaling", True)


def test_recorded_command_omits_the_paths_of_peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["vla-bench", "benchmark", "--peer", "metaworld=/home/me/bin/python", "--turns", "3"]
    monkeypatch.setattr("sys.argv", typed)
    _invoke("--only", "speed", "--output", tmp_path)
    command = read_record(tmp_path / "performance.json").command
    assert command == "vla-bench benchmark --peer metaworld=PYTHON --turns 3"


def test_interrupted_benchmark_reports_that_no_metrics_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(setting: MeasureSettings) -> list[object]:
        raise KeyboardInterrupt

    monkeypatch.setitem(measures._members, "speed", Measure("Speed", interrupted))  # type: ignore[arg-type]
    result = _invoke("--only", "speed", "--output", tmp_path / "there")
    assert result.exit_code == 130
    assert "An interrupted benchmark stores no metrics" in result.output
    assert not (tmp_path / "there").exists()
