"""Detection of regressions: tolerance, noise, and machines with different hardware."""

import pytest

from tests.performance.example_records import EPYC, metric, record
from vla_bench.performance.regressions import NothingComparedError, check_regressions, regression_table


@pytest.mark.parametrize(
    ("then", "now", "verdict"),
    [
        (10.0, 10.0, "ok"),
        (10.0, 8.5, "ok"),
        (10.0, 7.5, "worse"),
        (10.0, 13.0, "better"),
    ],
)
def test_ratio_may_be_worse_within_the_tolerance(then: float, now: float, verdict: str) -> None:
    result = check_regressions(record(metric("ratio", now)), record(metric("ratio", then)), tolerance=0.25)
    assert [one.verdict for one in result.comparisons] == [verdict]
    assert result.passed == (verdict != "worse")


def test_lower_is_better_where_the_metric_declares_it() -> None:
    then = record(metric("memory", 300.0, kind="memory", better="lower"))
    assert not check_regressions(record(metric("memory", 400.0, kind="memory", better="lower")), then).passed
    assert check_regressions(record(metric("memory", 200.0, kind="memory", better="lower")), then).passed


def test_share_near_zero_is_compared_in_percentage_points() -> None:
    then = record(metric("overhead", 0.5, kind="share", better="lower"))
    assert check_regressions(
        record(metric("overhead", 4.0, kind="share", better="lower")), then
    ).passed  # eight times as much
    assert check_regressions(record(metric("overhead", -1.0, kind="share", better="lower")), then).passed
    assert not check_regressions(record(metric("overhead", 7.0, kind="share", better="lower")), then).passed


def test_wide_range_of_turns_widens_the_tolerance() -> None:
    then = record(metric("ratio", 9.0, 10.0, 11.0))
    assert not check_regressions(record(metric("ratio", 6.9, 7.0, 7.1)), then).passed
    assert check_regressions(record(metric("ratio", 4.0, 7.0, 10.5)), then).passed


def test_times_are_compared_on_equal_hardware_only() -> None:
    slow, fast = metric("speed", 50.0, kind="time"), metric("speed", 100.0, kind="time")
    ratio = metric("ratio", 10.0)
    assert not check_regressions(record(slow, ratio), record(fast, ratio)).passed
    elsewhere = check_regressions(record(slow, ratio), record(fast, ratio, machine=EPYC))
    assert elsewhere.passed
    assert not elsewhere.same_class
    assert {one.name: one.verdict for one in elsewhere.comparisons} == {
        "speed.speed": "not compared",
        "speed.ratio": "ok",
    }


def test_missing_metric_is_a_regression() -> None:
    then = record(metric("ratio", 10.0), metric("other", 1.0))
    result = check_regressions(record(metric("ratio", 10.0)), then)
    assert result.missing == ("speed.other",)
    assert not result.passed


def test_failed_measure_is_a_regression_but_an_unavailable_one_is_not() -> None:
    then = record(metric("ratio", 10.0))
    assert check_regressions(record(not_run="the measure failed", failed=True), then).missing == ("speed.ratio",)
    with pytest.raises(NothingComparedError, match="No metric can be compared: the record has no ratio"):
        check_regressions(record(not_run="no GPU."), then)


def test_table_lists_regressions_first() -> None:
    then = record(metric("good", 10.0), metric("bad", 10.0))
    table = regression_table(check_regressions(record(metric("good", 10.0), metric("bad", 1.0)), then))
    assert [(row[0], row[-1]) for row in table.rows] == [("bad", "worse"), ("good", "ok")]
    assert table.rows[0][1:4] == ("10 x", "1 x", "-90%")
