"""A regression shows, noise does not, and machines of different classes are compared by what they can compare."""

import pytest

from tests.performance.made_up_records import EPYC, figure, record
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
def test_a_ratio_may_be_worse_by_the_tolerance(then: float, now: float, verdict: str) -> None:
    result = check_regressions(record(figure("ratio", now)), record(figure("ratio", then)), tolerance=0.25)
    assert [one.verdict for one in result.comparisons] == [verdict]
    assert result.passed == (verdict != "worse")


def test_less_is_better_where_the_figure_says_so() -> None:
    then = record(figure("memory", 300.0, kind="memory", better="lower"))
    assert not check_regressions(record(figure("memory", 400.0, kind="memory", better="lower")), then).passed
    assert check_regressions(record(figure("memory", 200.0, kind="memory", better="lower")), then).passed


def test_a_share_near_zero_is_compared_in_points() -> None:
    then = record(figure("overhead", 0.5, kind="share", better="lower"))
    assert check_regressions(
        record(figure("overhead", 4.0, kind="share", better="lower")), then
    ).passed  # eight times as much
    assert check_regressions(record(figure("overhead", -1.0, kind="share", better="lower")), then).passed
    assert not check_regressions(record(figure("overhead", 7.0, kind="share", better="lower")), then).passed


def test_turns_that_lie_apart_widen_the_tolerance() -> None:
    then = record(figure("ratio", 9.0, 10.0, 11.0))
    assert not check_regressions(record(figure("ratio", 6.9, 7.0, 7.1)), then).passed
    assert check_regressions(record(figure("ratio", 4.0, 7.0, 10.5)), then).passed


def test_times_count_on_the_same_class_of_machine_only() -> None:
    slow, fast = figure("speed", 50.0, kind="time"), figure("speed", 100.0, kind="time")
    ratio = figure("ratio", 10.0)
    assert not check_regressions(record(slow, ratio), record(fast, ratio)).passed
    elsewhere = check_regressions(record(slow, ratio), record(fast, ratio, machine=EPYC))
    assert elsewhere.passed
    assert not elsewhere.same_class
    assert {one.name: one.verdict for one in elsewhere.comparisons} == {
        "speed.speed": "not compared",
        "speed.ratio": "ok",
    }


def test_what_was_measured_then_must_be_there_now() -> None:
    then = record(figure("ratio", 10.0), figure("other", 1.0))
    result = check_regressions(record(figure("ratio", 10.0)), then)
    assert result.missing == ("speed.other",)
    assert not result.passed


def test_a_measure_that_fails_is_a_regression_and_one_that_cannot_be_taken_is_none() -> None:
    then = record(figure("ratio", 10.0))
    assert check_regressions(record(not_run="it failed", failed=True), then).missing == ("speed.ratio",)
    with pytest.raises(NothingComparedError, match="Nothing was compared: the record has no ratio, share or memory of"):
        check_regressions(record(not_run="no GPU."), then)


def test_the_table_shows_what_is_worse_first() -> None:
    then = record(figure("good", 10.0), figure("bad", 10.0))
    table = regression_table(check_regressions(record(figure("good", 10.0), figure("bad", 1.0)), then))
    assert [(row[0], row[-1]) for row in table.rows] == [("bad", "worse"), ("good", "ok")]
    assert table.rows[0][1:4] == ("10 x", "1 x", "-90%")
