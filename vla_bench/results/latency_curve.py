"""Success rate against latency: table, figure and page of runs that differ only in latency."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pydantic import JsonValue

from vla_bench.results.episode_record import KEY
from vla_bench.results.errors import IncomparableRunsError
from vla_bench.results.notes import conditions_of, provenance
from vla_bench.results.protocols import protocol_differences
from vla_bench.results.runs import Run, read_run
from vla_bench.results.statistics import Proportion
from vla_bench.results.statistics.paired import Difference, PairCounts, mean_difference
from vla_bench.results.statistics.proportions import fixed_tasks
from vla_bench.results.text_tables import NO_VALUE, TextTable, markdown_table, markdown_text

_LATENCY = "latency"
_EXPLANATION = (
    "Latency: time from an observation to its first action, on a virtual clock; the robot stands still until then, "
    "before every action chunk. Lost: compared with the smallest latency of the same policy, on the same episodes, "
    "with 95 % intervals"
)
_WIDTH_IN, _HEIGHT_IN, _DPI = 5.2, 3.4, 200


@dataclass(frozen=True)
class LatencyPoint:
    """Success of one policy in one suite at one latency, without errors."""

    policy: str
    suite: str
    latency: str  # as in the protocol; empty: simulation waits for the policy
    success: Proportion  # mean over tasks
    episodes: int
    # success lost compared with the smallest latency of the policy, on common episodes; NaN for the smallest
    lost: Difference

    @property
    def mean_ms(self) -> float:
        """Mean latency [ms]."""
        return _mean_ms(self.latency)


def read_latency_curve(folders: Sequence[Path]) -> list[LatencyPoint]:
    """Return one point per run and suite, sorted by policy and latency.

    Raise `IncomparableRunsError` for runs whose protocols differ in more than the latency.
    """
    runs = [read_run(folder) for folder in folders]
    for run in runs[1:]:
        _require_same_but_latency(runs[0], run)
    runs = sorted(runs, key=lambda run: latency_ms(run.info.protocol))
    least: dict[tuple[str, str], pd.DataFrame] = {}
    points = []
    for run in runs:
        for suite in run.suites:
            own = _scored(run, suite)
            first = least.setdefault((run.info.policy, suite), own)
            points.append(_point(run, suite, own, None if first is own else first))
    return sorted(points, key=lambda point: (point.suite, point.policy, point.mean_ms))


def latency_conditions(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return the evaluation conditions of the points, without the latency."""
    runs = [read_run(folder) for folder in folders]
    made = [
        replace(run, info=run.info.model_copy(update={"protocol": _without_latency(run.info.protocol)})) for run in runs
    ]
    return (*(note for notes in conditions_of(made).values() for note in notes), provenance(runs))


def latency_ms(protocol: Mapping[str, JsonValue]) -> float:
    """Return the mean latency of a protocol [ms]; 0 if simulation waits for the policy."""
    return _mean_ms(str(protocol.get(_LATENCY) or ""))


def latency_table(points: Sequence[LatencyPoint], conditions: Sequence[str] = ()) -> TextTable:
    """Return the points as a table with its notes."""
    rows = [
        (
            point.policy,
            point.suite,
            point.latency or "0ms",
            str(point.episodes),
            f"{100 * point.success.rate:.1f} [{100 * point.success.low:.1f}, {100 * point.success.high:.1f}]",
            _lost_cell(point.lost),
        )
        for point in points
    ]
    header = ("policy", "suite", "latency", "episodes", "success %", "lost, points")
    return TextTable("Success against latency", header, tuple(rows), left=2, conditions=(_EXPLANATION, *conditions))


def latency_page(folders: Sequence[Path]) -> str:
    """Return the curve of some runs as a Markdown page."""
    table = latency_table(read_latency_curve(folders), latency_conditions(folders))
    notes = [f"{markdown_text(note)}." for note in table.footnotes]
    return "\n\n".join([f"# {table.title}", markdown_table(table), *notes]) + "\n"


def save_latency_curve(points: Sequence[LatencyPoint], path: Path) -> None:
    """Plot success with its 95 % interval against the mean latency, one curve per policy and suite."""
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
    ours, theirs = (_without_latency(run.info.protocol) for run in (first, second))
    if differences := protocol_differences(ours, theirs):
        reason = "differ in more than the latency"
        raise IncomparableRunsError(first.folder, second.folder, reason, differences, "Run one of them again.")


def _without_latency(protocol: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {name: value for name, value in protocol.items() if name != _LATENCY}


def _mean_ms(latency: str) -> float:
    return float(re.split("ms|±", latency)[0]) if latency else 0.0


def _scored(run: Run, suite: str) -> pd.DataFrame:
    own = run.episodes[(run.episodes["suite"] == suite) & (run.episodes["outcome"] != "error")]
    return own.assign(success=own["outcome"] == "success").set_index(list(KEY))[["success"]]


def _point(run: Run, suite: str, own: pd.DataFrame, least: pd.DataFrame | None) -> LatencyPoint:
    tasks = own.groupby("task")["success"]
    success = fixed_tasks(tasks.sum().astype(int).tolist(), tasks.count().tolist())
    latency = str(run.info.protocol.get(_LATENCY) or "")
    return LatencyPoint(run.info.policy, suite, latency, success, len(own), _success_lost(own, least))


def _success_lost(own: pd.DataFrame, least: pd.DataFrame | None) -> Difference:
    if least is None:
        return Difference(math.nan, math.nan, math.nan)
    pairs = least.join(own, how="inner", lsuffix="_least", rsuffix="_own")
    return mean_difference(
        [PairCounts.of(part["success_least"], part["success_own"]) for _, part in pairs.groupby("task")]
    )


def _lost_cell(lost: Difference) -> str:
    if math.isnan(lost.value):
        return NO_VALUE
    return f"{100 * lost.value:+.1f} [{100 * lost.low:+.1f}, {100 * lost.high:+.1f}]"
