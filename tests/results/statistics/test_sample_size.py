import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest
from statsmodels.stats.proportion import power_proportions_2indep

from vla_bench.results.statistics.sample_size import (
    expected_discordance,
    paired_detectable,
    paired_episodes,
    paired_power,
    unpaired_detectable,
    unpaired_episodes,
)


def enumerated_power(pairs: int, difference: float, discordance: float, alpha: float) -> float:
    """Return the power of the exact McNemar test by going through all outcomes."""
    wins = (1 + difference / discordance) / 2
    return sum(
        binom.pmf(discordant, pairs, discordance) * binom.pmf(won, discordant, wins)
        for discordant in range(1, pairs + 1)
        for won in range(discordant + 1)
        if binomtest(won, discordant, 0.5).pvalue <= alpha
    )


@pytest.mark.parametrize(
    ("pairs", "difference", "discordance", "alpha"),
    [(20, 0.3, 0.4, 0.05), (20, 0.2, 0.2, 0.05), (15, 0.5, 0.9, 0.01), (5, 0.5, 0.9, 0.05), (8, 1.0, 1.0, 0.05)],
)
def test_power_is_that_of_all_outcomes(pairs: int, difference: float, discordance: float, alpha: float) -> None:
    expected = enumerated_power(pairs, difference, discordance, alpha)
    assert paired_power(pairs, difference, discordance, alpha) == pytest.approx(expected)
    assert paired_power(pairs, -difference, discordance, alpha) == pytest.approx(expected)


def test_power_without_difference_is_at_most_the_level() -> None:
    assert 0 < paired_power(200, 0.0, 0.3) <= 0.05
    assert paired_power(200, 0.0, 0.0) == 0.0


def test_a_difference_larger_than_the_discordance_is_refused() -> None:
    with pytest.raises(ValueError, match=r"discordance is 0\.1\. Expected a value between the difference 0\.2"):
        paired_power(50, 0.2, 0.1)


@pytest.mark.parametrize(("difference", "discordance"), [(0.3, 0.4), (0.1, 0.2), (0.05, 0.3), (-0.05, 0.01)])
def test_planned_pairs_have_the_power_and_fewer_do_not(difference: float, discordance: float) -> None:
    needed = paired_episodes(difference, discordance)
    share = max(discordance, abs(difference))
    assert paired_power(needed, difference, share) >= 0.8 > paired_power(needed - 1, difference, share)


def test_planned_pairs_agree_with_connors_formula() -> None:
    # Connor 1987, for the large-sample test; the exact test needs a little more.
    difference, discordance = 0.05, 0.25
    root = math.sqrt(discordance - difference**2)
    asymptotic = ((1.959964 * math.sqrt(discordance) + 0.841621 * root) / difference) ** 2
    assert asymptotic < paired_episodes(difference, discordance) < 1.05 * asymptotic


def test_detectable_difference_has_the_power() -> None:
    for pairs, discordance in ((50, 0.3), (500, 0.1), (60, 0.01)):
        difference = paired_detectable(pairs, discordance)
        assert paired_power(pairs, difference, max(discordance, difference)) == pytest.approx(0.8, abs=1e-3)


def test_five_pairs_find_nothing() -> None:
    assert math.isnan(paired_detectable(5, 0.5))  # the smallest p of five pairs is 1/16


def test_no_number_of_pairs_finds_no_difference() -> None:
    with pytest.raises(ValueError, match="difference is 0, which is never detected"):
        paired_episodes(0.0, 0.3)


@pytest.mark.parametrize(("rate", "difference"), [(0.5, 0.1), (0.9, -0.2), (0.0, 0.05)])
def test_unpaired_plan_has_the_power(rate: float, difference: float) -> None:
    needed = unpaired_episodes(rate, difference)
    powers = [power_proportions_2indep(difference, rate, count, return_results=False) for count in (needed, needed - 2)]
    assert powers[0] >= 0.8 > powers[1]
    assert unpaired_detectable(needed, rate) == pytest.approx(abs(difference), rel=0.05)


def test_unpaired_plan_by_the_textbook() -> None:
    assert unpaired_episodes(0.5, 0.1) == pytest.approx(387.3, abs=1)  # Fleiss, Levin and Paik 2003, formula 4.14
    with pytest.raises(ValueError, match=r"0\.9 \+ 0\.2 is not another success rate"):
        unpaired_episodes(0.9, 0.2)
    assert math.isnan(unpaired_detectable(2, 0.5))


def test_planned_discordance_is_never_none() -> None:
    assert expected_discordance(0, 20) == pytest.approx(2 / 24)
    assert expected_discordance(10, 10**6) == pytest.approx(1e-5, rel=0.3)
    assert np.isclose(expected_discordance(20, 20), 22 / 24)
