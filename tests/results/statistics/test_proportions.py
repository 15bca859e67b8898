import math

import pytest

from vla_bench.results.statistics import mean_and_std, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (10, 10, 0.7225, 1.0000),
        (35, 60, 0.4573, 0.6994),
    ],
)
def test_wilson_gives_the_published_intervals(successes: int, trials: int, low: float, high: float) -> None:
    proportion = wilson(successes, trials)
    assert proportion.rate == successes / trials
    assert (proportion.low, proportion.high) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize("trials", [1, 10, 1000])
def test_interval_at_either_end_is_not_degenerate_and_stays_within_bounds(trials: int) -> None:
    none, every = wilson(0, trials), wilson(trials, trials)
    assert none.low == none.rate == 0.0 < none.high
    assert every.high == every.rate == 1.0 > every.low
    assert none.high == pytest.approx(1.0 - every.low)


def test_no_trials_have_no_rate() -> None:
    proportion = wilson(0, 0)
    assert all(map(math.isnan, (proportion.rate, proportion.low, proportion.high)))


def test_more_successes_than_trials_is_refused() -> None:
    with pytest.raises(ValueError, match="3 successes in 2 trials"):
        wilson(3, 2)


def test_mean_and_sample_standard_deviation() -> None:
    assert mean_and_std([1.0, 2.0, 3.0, 4.0]) == pytest.approx((2.5, math.sqrt(5 / 3)))


def test_spread_of_one_value_and_mean_of_none_are_unknown() -> None:
    mean, std = mean_and_std([3.0])
    assert mean == 3.0
    assert math.isnan(std)
    assert all(map(math.isnan, mean_and_std([])))
