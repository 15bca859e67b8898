import math

import numpy as np
import pytest
from scipy.stats import t

from vla_bench.results.statistics.proportions import wilson
from vla_bench.results.statistics.suite_average import clustered_bootstrap, expanded, fixed_tasks, sampled_tasks


def test_average_counts_tasks_alike() -> None:
    assert fixed_tasks([10, 0], [10, 40]).rate == 0.5
    assert fixed_tasks([10, 0, 0], [10, 40, 0]).rate == 0.5  # a task without episodes has no rate


def test_one_task_has_wilsons_interval() -> None:
    assert fixed_tasks([13], [20]) == wilson(13, 20)
    assert fixed_tasks([20], [20]).high == 1.0


def test_equal_tasks_narrow_the_interval_by_the_root_of_their_number() -> None:
    one, four = wilson(13, 20), fixed_tasks([13] * 4, [20] * 4)
    assert four.rate - four.low == pytest.approx((one.rate - one.low) / 2)
    assert four.high - four.rate == pytest.approx((one.high - one.rate) / 2)


def test_interval_has_a_width_where_everything_succeeded() -> None:
    perfect = fixed_tasks([20] * 5, [20] * 5)
    assert perfect.low < perfect.rate == perfect.high == 1.0
    assert sampled_tasks([20] * 5, [20] * 5) == perfect


def test_nothing_has_no_average() -> None:
    assert all(map(math.isnan, (fixed_tasks([], []).rate, fixed_tasks([0], [0]).low, sampled_tasks([0], [0]).rate)))


def test_tasks_as_a_sample_are_less_certain_than_these_tasks() -> None:
    hits, trials = [50, 37, 29, 50, 37], [50] * 5
    fixed, sampled = fixed_tasks(hits, trials), sampled_tasks(hits, trials)
    assert sampled.rate == fixed.rate
    assert sampled.low < fixed.low
    assert sampled.high > fixed.high
    assert math.isnan(sampled_tasks([3], [5]).low)


def test_clustered_bootstrap_of_many_tasks_is_students_interval() -> None:
    rates = np.random.default_rng(0).beta(3, 2, 60)
    low, high = clustered_bootstrap(rates)
    half = t.ppf(0.975, 59) * rates.std(ddof=1) / math.sqrt(60)
    assert (float(low), float(high)) == pytest.approx((rates.mean() - half, rates.mean() + half), abs=0.006)


def test_few_tasks_take_percentiles_farther_out() -> None:
    assert expanded(0.95, 1000) == pytest.approx(0.95, abs=1e-3)
    assert 0.95 < expanded(0.95, 10) < expanded(0.95, 5) < 1.0


def test_the_same_rates_have_the_same_interval() -> None:
    assert clustered_bootstrap([0.1, 0.5, 0.9]) == clustered_bootstrap([0.1, 0.5, 0.9])
