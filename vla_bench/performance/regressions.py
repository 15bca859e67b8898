"""Compare a benchmark record with an earlier one and report regressions."""

from dataclasses import dataclass
from typing import Literal

from vla_bench.core.errors import VlaBenchError
from vla_bench.performance.record import BenchmarkRecord, Metric, format_number, strip_code_marks
from vla_bench.results.text_tables import TextTable

TOLERANCE = 0.25  # allowed fraction; twice the variation of medians between runs on a busy machine

_FULL_CHANGE_POINTS = 20.0  # a tolerance of 25 % corresponds to 5 percentage points

Verdict = Literal["ok", "better", "worse", "not compared"]


class NothingComparedError(VlaBenchError):
    """Two records without a common comparable metric."""

    def __init__(self, measures: list[str]) -> None:
        super().__init__(
            f"No metric can be compared: the record has no ratio, share or memory of "
            f"{', '.join(measures) or 'any measure'}. Run `vla-bench benchmark` to write a complete record."
        )


@dataclass(frozen=True)
class MetricComparison:
    """One metric in the new and in the earlier record."""

    name: str
    now: Metric
    then: Metric
    tolerance: float
    compared: bool  # whether the two machines are comparable in this metric

    @property
    def change(self) -> float:
        """Relative improvement over the earlier value; negative: worse.

        A share of a step may be near 0, so shares are compared in percentage points; `_FULL_CHANGE_POINTS` of them
        count as a relative change of 1.
        """
        before, after = self.then.median, self.now.median
        if self.now.kind == "share":
            return (before - after if self.now.better == "lower" else after - before) / _FULL_CHANGE_POINTS
        if self.now.better == "lower":
            before, after = after, before
        return after / before - 1.0 if before else 0.0

    @property
    def verdict(self) -> Verdict:
        """Verdict of the comparison: `worse` or `better` by more than the tolerance, else `ok`."""
        if not self.compared:
            return "not compared"
        if self.change < -self.tolerance / (1.0 + self.tolerance):
            return "worse"
        return "better" if self.change > self.tolerance else "ok"


@dataclass(frozen=True)
class RegressionCheck:
    """The comparisons of all metrics that both records have."""

    comparisons: tuple[MetricComparison, ...]
    missing: tuple[str, ...]  # metrics of the earlier record that a requested measure no longer has
    same_class: bool

    @property
    def regressions(self) -> tuple[MetricComparison, ...]:
        """The metrics that are worse."""
        return tuple(one for one in self.comparisons if one.verdict == "worse")

    @property
    def passed(self) -> bool:
        """True if no metric is worse and none is missing."""
        return not self.regressions and not self.missing


def check_regressions(now: BenchmarkRecord, then: BenchmarkRecord, tolerance: float = TOLERANCE) -> RegressionCheck:
    """Compare two records. The tolerance of a metric is at least half of the range of its turns.

    Every measure of `now` that ran or failed must have all metrics of the earlier record. Raise
    `NothingComparedError` where the two records have no comparable metric in common.
    """
    same_class = now.machine.hardware_class == then.machine.hardware_class
    metrics_now, metrics_then = now.figures(), then.figures()
    comparisons = [
        MetricComparison(
            name,
            metric,
            metrics_then[name],
            _effective_tolerance(metric, metrics_then[name], tolerance),
            compared=metric.kind != "time" or same_class,
        )
        for name, metric in metrics_now.items()
        if name in metrics_then
    ]
    requested = {outcome.measure for outcome in now.outcomes if outcome.failed or not outcome.not_run}
    missing = [name for name in metrics_then if name.split(".")[0] in requested and name not in metrics_now]
    if not any(one.compared for one in comparisons) and not missing:
        raise NothingComparedError(sorted(outcome.measure for outcome in now.outcomes))
    return RegressionCheck(tuple(comparisons), tuple(missing), same_class)


def regression_table(result: RegressionCheck) -> TextTable:
    """Return a table of all comparisons, worse ones first."""
    order = {"worse": 0, "better": 1, "ok": 2, "not compared": 3}
    rows = [
        (
            strip_code_marks(one.now.title),
            f"{format_number(one.then.median)} {one.then.unit}",
            f"{format_number(one.now.median)} {one.now.unit}",
            f"{one.change:+.0%}",
            f"{one.tolerance:.0%}",
            one.verdict,
        )
        for one in sorted(result.comparisons, key=lambda one: order[one.verdict])
    ]
    return TextTable(
        "Compared with the record",
        ("metric", "record", "now", "improvement", "tolerance", "verdict"),
        tuple(rows),
        left=1,
    )


def _effective_tolerance(now: Metric, then: Metric, tolerance: float) -> float:
    """Return the tolerance, or half of the range of the turns where that is larger: smaller changes are noise."""
    if now.kind == "share":
        return max(tolerance, *((one.high - one.low) / 2 / _FULL_CHANGE_POINTS for one in (now, then)))
    return max(tolerance, now.spread / 2, then.spread / 2)
