"""Compare a benchmark record with an earlier one and report regressions."""

from dataclasses import dataclass
from typing import Literal

from vla_bench.core.errors import VlaBenchError
from vla_bench.performance.record import BenchmarkRecord, Metric, format_number, strip_code_marks
from vla_bench.results.text_tables import TextTable

TOLERANCE = 0.25  # share by which a median may be worse; twice what medians moved by between runs on a busy machine

_FULL_CHANGE_POINTS = 20.0  # so that a tolerance of 25 % is one of 5 points

Verdict = Literal["ok", "better", "worse", "not compared"]


class NothingComparedError(VlaBenchError):
    """Two records that share no figure."""

    def __init__(self, measures: list[str]) -> None:
        super().__init__(
            f"Nothing was compared: the record has no ratio, share or memory of {', '.join(measures) or 'no measure'}. "
            "`vla-bench benchmark` writes a whole record."
        )


@dataclass(frozen=True)
class MetricComparison:
    """One figure now and then."""

    name: str
    now: Metric
    then: Metric
    tolerance: float
    compared: bool  # where it is one that the two machines can compare

    @property
    def change(self) -> float:
        """How much better it is, as a share of what it was; negative: worse.

        A share of a step may be near 0, so it is compared in points, of which `_FULL_CHANGE_POINTS` count as all of it.
        """
        before, after = self.then.median, self.now.median
        if self.now.kind == "share":
            return (before - after if self.now.better == "lower" else after - before) / _FULL_CHANGE_POINTS
        if self.now.better == "lower":
            before, after = after, before
        return after / before - 1.0 if before else 0.0

    @property
    def verdict(self) -> Verdict:
        """Whether it is worse by more than the tolerance."""
        if not self.compared:
            return "not compared"
        if self.change < -self.tolerance / (1.0 + self.tolerance):
            return "worse"
        return "better" if self.change > self.tolerance else "ok"


@dataclass(frozen=True)
class RegressionCheck:
    """All figures that both records have."""

    comparisons: tuple[MetricComparison, ...]
    missing: tuple[str, ...]  # measured then, asked for now, and not there
    same_class: bool

    @property
    def regressions(self) -> tuple[MetricComparison, ...]:
        """What is worse."""
        return tuple(one for one in self.comparisons if one.verdict == "worse")

    @property
    def passed(self) -> bool:
        """Whether nothing is worse and nothing is missing."""
        return not self.regressions and not self.missing


def check_regressions(now: BenchmarkRecord, then: BenchmarkRecord, tolerance: float = TOLERANCE) -> RegressionCheck:
    """Compare what both records hold. A figure whose turns lie further apart than the tolerance is given that much.

    Every measure of `now` that ran or failed must have all the figures that it had then. Raise `NothingComparedError`
    where the two records share nothing.
    """
    same_class = now.machine.hardware_class == then.machine.hardware_class
    figures_now, figures_then = now.figures(), then.figures()
    comparisons = [
        MetricComparison(
            name,
            figure,
            figures_then[name],
            _effective_tolerance(figure, figures_then[name], tolerance),
            compared=figure.kind != "time" or same_class,
        )
        for name, figure in figures_now.items()
        if name in figures_then
    ]
    asked = {outcome.measure for outcome in now.outcomes if outcome.failed or not outcome.not_run}
    missing = [name for name in figures_then if name.split(".")[0] in asked and name not in figures_now]
    if not any(one.compared for one in comparisons) and not missing:
        raise NothingComparedError(sorted(outcome.measure for outcome in now.outcomes))
    return RegressionCheck(tuple(comparisons), tuple(missing), same_class)


def regression_table(result: RegressionCheck) -> TextTable:
    """Return what is worse first, then the rest."""
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
    return TextTable("Against the record", ("what", "then", "now", "better by", "tolerance", ""), tuple(rows), left=1)


def _effective_tolerance(now: Metric, then: Metric, tolerance: float) -> float:
    """Return the tolerance, or half of the spread of the turns where that is more: the figure cannot say better."""
    if now.kind == "share":
        return max(tolerance, *((one.high - one.low) / 2 / _FULL_CHANGE_POINTS for one in (now, then)))
    return max(tolerance, now.spread / 2, then.spread / 2)
