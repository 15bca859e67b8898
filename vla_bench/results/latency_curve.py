"""Success against latency: runs that differ in nothing else, one curve a policy and suite."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vla_bench.results.errors import IncomparableRunsError
from vla_bench.results.protocols import protocol_differences
from vla_bench.results.runs import Run, read_run
from vla_bench.results.statistics import Proportion, wilson
from vla_bench.results.tables import TextTable

_LATENCY = "latency"
_WIDTH_IN, _HEIGHT_IN, _DPI = 5.2, 3.4, 200


@dataclass(frozen=True)
class LatencyPoint:
    """The success of one policy in one suite at one latency, errors left out."""

    policy: str
    suite: str
    latency: str  # as the protocol says it; nothing: the world waits
    success: Proportion
    episodes: int

    @property
    def mean_ms(self) -> float:
        """The latency without its spread [ms]."""
        return float(re.split("ms|±", self.latency)[0]) if self.latency else 0.0


def read_latency_curve(folders: Sequence[Path]) -> list[LatencyPoint]:
    """Return a point for each run and suite, by policy and latency.

    Raise `IncomparableRunsError` for runs whose protocols differ in more than the latency.
    """
    runs = [read_run(folder) for folder in folders]
    for run in runs[1:]:
        _require_same_but_latency(runs[0], run)
    points = [_point(run, suite) for run in runs for suite in run.suites]
    return sorted(points, key=lambda point: (point.suite, point.policy, point.mean_ms))


def latency_table(points: Sequence[LatencyPoint]) -> TextTable:
    """Return the points as a table."""
    rows = [
        (
            point.policy,
            point.suite,
            point.latency or "0ms",
            str(point.episodes),
            f"{100 * point.success.rate:.1f} [{100 * point.success.low:.1f}, {100 * point.success.high:.1f}]",
        )
        for point in points
    ]
    return TextTable(
        "Success against latency", ("policy", "suite", "latency", "episodes", "success %"), tuple(rows), left=2
    )


def save_latency_curve(points: Sequence[LatencyPoint], path: Path) -> None:
    """Draw success with its 95 % interval against the mean latency, a curve for each policy and suite."""
    with mpl.rc_context({"font.size": 9.0, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for policy, suite in dict.fromkeys((point.policy, point.suite) for point in points):
            curve = [point for point in points if (point.policy, point.suite) == (policy, suite)]
            rates = [100 * point.success.rate for point in curve]
            errors = [
                [100 * (point.success.rate - point.success.low) for point in curve],
                [100 * (point.success.high - point.success.rate) for point in curve],
            ]
            latencies = [point.mean_ms for point in curve]
            axes.errorbar(
                latencies, rates, yerr=errors, marker="o", markersize=4, capsize=2, label=f"{policy}, {suite}"
            )
        axes.set_xlabel("latency [ms]")
        axes.set_ylabel("success rate [%]")
        axes.set_ylim(-2.0, 102.0)
        axes.legend(frameon=False)
        figure.savefig(path, dpi=_DPI, metadata={"Software": ""})


def _require_same_but_latency(first: Run, second: Run) -> None:
    ours, theirs = (
        {name: value for name, value in run.info.protocol.items() if name != _LATENCY} for run in (first, second)
    )
    if differences := protocol_differences(ours, theirs):
        reason = "differ in more than the latency"
        raise IncomparableRunsError(first.folder, second.folder, reason, differences, "Run one of them again.")


def _point(run: Run, suite: str) -> LatencyPoint:
    episodes = run.episodes[(run.episodes["suite"] == suite) & (run.episodes["outcome"] != "error")]
    success = wilson(int((episodes["outcome"] == "success").sum()), len(episodes))
    return LatencyPoint(run.info.policy, suite, str(run.info.protocol.get(_LATENCY) or ""), success, len(episodes))
