import math

import numpy as np
import pytest
from scipy.stats import binomtest

from vla_bench.results.statistics.paired import PairCounts, bootstrap_difference, mcnemar_exact, mean_difference

NO_PAIRS = PairCounts(0, 0, 0, 0)


def test_pairs_are_counted_by_who_succeeded() -> None:
    counts = PairCounts.of([1, 1, 1, 0, 0, 0], [1, 0, 0, 1, 0, 0])
    assert counts == PairCounts(both=1, first_only=2, second_only=1, neither=2)
    assert (counts.pairs, counts.discordant) == (6, 3)
    assert (counts.first_rate, counts.second_rate) == (0.5, 2 / 6)
    assert counts.difference == pytest.approx(1 / 6)
    assert counts + counts == PairCounts(2, 4, 2, 4)


def test_outcomes_of_unequal_number_are_refused() -> None:
    with pytest.raises(ValueError, match="2 of the first policy, 3 of the second"):
        PairCounts.of([1, 0], [1, 0, 1])


@pytest.mark.parametrize(("first_only", "second_only"), [(0, 0), (1, 0), (5, 0), (10, 3), (30, 31), (200, 150)])
def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs(first_only: int, second_only: int) -> None:
    counts = PairCounts(50, first_only, second_only, 20)
    discordant = first_only + second_only
    expected = binomtest(first_only, discordant, 0.5).pvalue if discordant else 1.0
    assert mcnemar_exact(counts) == pytest.approx(expected)


def test_mcnemar_by_hand() -> None:
    assert mcnemar_exact(PairCounts(7, 5, 0, 8)) == pytest.approx(2 / 2**5)
    assert mcnemar_exact(PairCounts(7, 5, 1, 8)) == pytest.approx(2 * (1 + 6) / 2**6)


def test_difference_of_one_task_is_bonett_and_prices() -> None:
    # By hand, on the table that Fagerland, Lydersen and Laake (2014) work through: 1 and 7 of 21, so 2 and 8 of 23.
    found = mean_difference([PairCounts(1, 1, 7, 12)])
    one, other = 2 / 23, 8 / 23
    half = 1.959964 * math.sqrt((one + other - (one - other) ** 2) / 23)
    assert found.value == pytest.approx(-6 / 21)
    assert (found.low, found.high) == pytest.approx((one - other - half, one - other + half), abs=1e-6)


def test_difference_is_a_mean_of_tasks_and_several_tasks_narrow_it() -> None:
    small, large = PairCounts(1, 1, 0, 0), PairCounts(50, 0, 10, 40)
    assert mean_difference([small, large]).value == pytest.approx((0.5 - 0.1) / 2)
    together = mean_difference([large + large + large + large])
    assert mean_difference([large] * 4).low == pytest.approx(together.low)


def test_tasks_that_speak_for_different_policies_are_more_certain_than_their_pool() -> None:
    one, other = PairCounts(0, 40, 5, 5), PairCounts(0, 5, 40, 5)
    apart, pooled = mean_difference([one, other]), mean_difference([one + other])
    assert apart.value == pooled.value == 0.0
    assert apart.high < 0.8 * pooled.high


def test_tasks_that_are_all_wins_or_all_losses_are_not_certain() -> None:
    found = mean_difference([PairCounts(0, 50, 0, 0), PairCounts(0, 0, 50, 0)])
    assert 0.02 < found.high < 0.1


def test_difference_without_discordant_pairs_has_a_width() -> None:
    found = mean_difference([PairCounts(10, 0, 0, 10)])
    assert found.value == 0.0
    assert found.low == pytest.approx(-found.high)
    assert found.high > 0.1


def test_the_interval_holds_the_value_and_stays_within_bounds() -> None:
    for wins in range(6):
        for losses in range(6 - wins):
            found = mean_difference([PairCounts(5 - wins - losses, wins, losses, 0)])
            assert -1.0 <= found.low <= found.value <= found.high <= 1.0


def test_no_pairs_have_no_difference_and_are_left_out() -> None:
    task = PairCounts(3, 2, 1, 4)
    assert math.isnan(mean_difference([NO_PAIRS]).value)
    assert math.isnan(bootstrap_difference([]).low)
    assert mean_difference([task, NO_PAIRS]) == mean_difference([task])
    assert bootstrap_difference([task, NO_PAIRS]) == bootstrap_difference([task])


def test_bootstrap_draws_pairs_within_tasks() -> None:
    tasks = [PairCounts(10, 6, 2, 12), PairCounts(20, 3, 6, 1)]
    found = bootstrap_difference(tasks)
    generator = np.random.default_rng(1)
    drawn = [  # resampling pairs with replacement is multinomial sampling of their kinds
        generator.multinomial(30, [task.first_only / 30, task.second_only / 30, 1 - task.discordant / 30], 100_000)
        for task in tasks
    ]
    means = sum((kinds[:, 0] - kinds[:, 1]) / 30 for kinds in drawn) / 2
    assert found.value == pytest.approx(means.mean(), abs=2e-3)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.01)


def test_bootstrap_is_the_same_each_time_and_takes_a_single_pair() -> None:
    tasks = [PairCounts(0, 1, 0, 0), PairCounts(4, 3, 2, 1)]
    assert bootstrap_difference(tasks) == bootstrap_difference(tasks)
    still = bootstrap_difference([PairCounts(5, 0, 0, 5)])
    assert (still.low, still.high) == (0.0, 0.0)  # why it is not the interval that tables show
