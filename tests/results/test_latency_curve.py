from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.results.made_up import episodes, made_run
from vla_bench.cli import app
from vla_bench.results.errors import IncomparableRunsError
from vla_bench.results.latency_curve import latency_table, read_latency_curve

PROTOCOL = {"rendering": "fast", "robot": "panda"}


def made(folder: Path, outcomes: str, latency: str, **others: str) -> Path:
    protocol = {**PROTOCOL, **({"latency": latency} if latency else {}), **others}
    return made_run(folder, episodes(outcomes), protocol=protocol)


def test_points_stand_in_order_of_latency_and_leave_errors_out(tmp_path: Path) -> None:
    runs = [
        made(tmp_path / "late", "sfffe", "120ms±20"),
        made(tmp_path / "at_once", "ssss", ""),
        made(tmp_path / "soon", "ssff", "50ms"),
    ]
    points = read_latency_curve(runs)
    assert [(point.mean_ms, point.episodes, point.success.rate) for point in points] == [
        (0.0, 4, 1.0),
        (50.0, 4, 0.5),
        (120.0, 4, 0.25),
    ]
    rows = latency_table(points).rows
    assert [row[2] for row in rows] == ["0ms", "50ms", "120ms±20"]
    assert points[1].lost.value == 0.5
    assert points[2].lost.low < points[2].lost.value == 0.75 < points[2].lost.high, "paired with the least latency"
    assert rows[0][5] == "\N{EN DASH}"


def test_runs_that_differ_in_more_than_the_latency_are_refused(tmp_path: Path) -> None:
    runs = [made(tmp_path / "a", "s", ""), made(tmp_path / "b", "s", "50ms", robot="sawyer")]
    with pytest.raises(IncomparableRunsError, match=r"more than the latency: protocol\.robot"):
        read_latency_curve(runs)


def test_the_command_draws_the_curve(tmp_path: Path) -> None:
    runs = [made(tmp_path / "a", "ssf", ""), made(tmp_path / "b", "sff", "80ms")]
    picture = tmp_path / "out" / "latency.png"
    result = CliRunner().invoke(app, ["latency", *map(str, runs), "--output", str(picture)])
    assert result.exit_code == 0, result.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "80ms" in result.output
    assert "Protocol: rendering fast, robot panda" in result.output, "but for the latency"
    assert "before every action chunk" in result.output
