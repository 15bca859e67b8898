import math

import numpy as np
import pytest
from scipy.stats import t
from statsmodels.stats.proportion import proportion_confint

from vla_bench.results.statistics.proportions import (
    clustered_bootstrap,
    expanded_confidence,
    fixed_tasks,
    sampled_tasks,
    task_clustered,
    wilson,
)


def test_average_counts_tasks_alike() -> None:
    assert fixed_tasks([10, 0], [10, 40]).rate == 0.5
    assert fixed_tasks([10, 0, 0], [10, 40, 0]).rate == 0.5  # a task without episodes has no rate


def test_one_task_has_wilsons_interval() -> None:
    assert fixed_tasks([13], [20]) == wilson(13, 20)
    assert fixed_tasks([20], [20]).high == 1.0


def test_tasks_that_are_alike_are_one_task_of_all_their_episodes() -> None:
    assert fixed_tasks([13] * 4, [20] * 4).low == pytest.approx(wilson(52, 80).low)
    assert fixed_tasks([20] * 5, [20] * 5) == wilson(100, 100)
    assert fixed_tasks([1, 0, 1], [1, 1, 1]).low >= wilson(2, 3).low


def test_interval_of_unlike_tasks_is_wilsons_with_the_effective_number_of_episodes() -> None:
    hits, trials = [45, 5], 50
    within = 0.9 * 0.1 * trials / (trials - 1)  # of an episode in either task
    share = within / (0.5 * 0.5)  # of what it would be if the 100 episodes were of one task
    low, high = proportion_confint(0.5 * 100 / share, 100 / share, method="wilson")
    found = fixed_tasks(hits, [trials] * 2)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.high - found.low < wilson(50, 100).high - wilson(50, 100).low


def test_tasks_that_are_all_or_nothing_are_not_certain() -> None:
    found = fixed_tasks([50, 50, 0], [50] * 3)
    assert 0.01 < found.rate - found.low < 0.05


def test_nothing_has_no_average() -> None:
    assert all(map(math.isnan, (fixed_tasks([], []).rate, fixed_tasks([0], [0]).low, sampled_tasks([0], [0]).rate)))


def test_tasks_as_a_sample_are_less_certain_than_these_tasks() -> None:
    hits, trials = [50, 37, 29, 50, 37], [50] * 5
    fixed, sampled = fixed_tasks(hits, trials), sampled_tasks(hits, trials)
    assert sampled.rate == fixed.rate
    assert sampled.low < fixed.low
    assert sampled.high > fixed.high
    assert math.isnan(sampled_tasks([3], [5]).low)
    assert sampled_tasks([20] * 5, [20] * 5) == fixed_tasks([20] * 5, [20] * 5)


def test_few_tasks_have_at_least_students_interval() -> None:
    rates = np.array([0.5, 0.6, 0.4])
    half = t.ppf(0.975, 2) * rates.std(ddof=1) / math.sqrt(3)
    low, high = task_clustered(rates, 0.45, 0.55)
    assert (float(low), float(high)) == pytest.approx((0.5 - half, 0.5 + half))
    low, high = task_clustered(np.array([0.1, 1.0, 1.0]), 0.6, 0.8)
    assert float(high) == 1.0


def test_clustered_bootstrap_of_many_tasks_is_students_interval() -> None:
    rates = np.random.default_rng(0).beta(3, 2, 60)
    low, high = clustered_bootstrap(rates)
    half = t.ppf(0.975, 59) * rates.std(ddof=1) / math.sqrt(60)
    assert (float(low), float(high)) == pytest.approx((rates.mean() - half, rates.mean() + half), abs=0.006)


def test_few_tasks_take_percentiles_farther_out() -> None:
    assert expanded_confidence(0.95, 1000) == pytest.approx(0.95, abs=1e-3)
    assert 0.95 < expanded_confidence(0.95, 10) < expanded_confidence(0.95, 5) < 1.0


def test_the_same_rates_have_the_same_interval() -> None:
    assert clustered_bootstrap([0.1, 0.5, 0.9]) == clustered_bootstrap([0.1, 0.5, 0.9])
