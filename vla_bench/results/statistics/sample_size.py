"""Sample size and power: the episodes needed to detect a difference, and the detectable difference."""

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom
from statsmodels.stats.proportion import power_proportions_2indep, samplesize_proportions_2indep_onetail

from vla_bench.results.statistics.proportions import NAN

ALPHA = 0.05
POWER = 0.8

_MAX_PAIRS = 10_000_000  # upper limit of the search
_RESOLUTION = 1e-6  # smallest difference
_TAIL = 9.0  # standard deviations beyond which counts are neglected


def paired_power(pairs: int, difference: float, discordance: float, alpha: float = ALPHA) -> float:
    """Return the power of the two-sided exact McNemar test for a difference of success rates.

    `discordance` is the fraction of pairs in which exactly one policy succeeds. The power is exact: it is averaged over
    the distribution of the number of discordant pairs.
    """
    if not abs(difference) <= discordance <= 1.0:
        raise ValueError(
            f"discordance is {discordance}. Expected a value between the difference {abs(difference)} and 1"
        )
    if not discordance:
        return 0.0
    mean, spread = pairs * discordance, math.sqrt(pairs * discordance * (1 - discordance))
    least, most = max(0, math.floor(mean - _TAIL * spread - 1)), min(pairs, math.ceil(mean + _TAIL * spread + 1))
    discordant = np.arange(least, most + 1)
    weights = binom.pmf(discordant, pairs, discordance)
    wins = 0.5 * (1 + abs(difference) / discordance)
    critical = binom.ppf(alpha / 2, discordant, 0.5)
    critical = np.where(binom.cdf(critical, discordant, 0.5) <= alpha / 2, critical, critical - 1)  # -1: never rejects
    rejects = binom.cdf(critical, discordant, wins) + binom.sf(discordant - critical - 1, discordant, wins)
    return float(weights @ np.where(critical < 0, 0.0, rejects))


def paired_episodes(difference: float, discordance: float, alpha: float = ALPHA, power: float = POWER) -> int:
    """Return the number of pairs that detect a difference with the given power."""
    wanted, share = abs(difference), max(discordance, abs(difference))
    if not wanted:
        raise ValueError("difference is 0, which is never detected. Expected another value")
    return _smallest(lambda pairs: paired_power(pairs, wanted, share, alpha) >= power)


def paired_detectable(pairs: int, discordance: float, alpha: float = ALPHA, power: float = POWER) -> float:
    """Return the smallest difference that `pairs` episodes detect with the given power; NaN if they detect none.

    If the difference exceeds the observed discordance, all discordant pairs are assumed to favor one policy.
    """

    def surplus(difference: float) -> float:
        return paired_power(pairs, difference, max(discordance, difference), alpha) - power

    return float(brentq(surplus, 0.0, 1.0, xtol=_RESOLUTION)) if surplus(1.0) >= 0 else NAN


def unpaired_episodes(rate: float, difference: float, alpha: float = ALPHA, power: float = POWER) -> int:
    """Return the number of unpaired episodes per policy that detect a difference from `rate`."""
    if not difference or not 0.0 <= rate + difference <= 1.0:
        raise ValueError(
            f"{rate} + {difference} is not another success rate. Expected a value in 0..1 other than {rate}"
        )
    return math.ceil(float(samplesize_proportions_2indep_onetail(difference, rate, power, alpha=alpha)))


def unpaired_detectable(episodes: int, rate: float, alpha: float = ALPHA, power: float = POWER) -> float:
    """Return the smallest difference towards 0.5 that `episodes` unpaired episodes per policy detect; NaN if none."""
    direction = 1.0 if rate <= 0.5 else -1.0

    def surplus(difference: float) -> float:
        found = power_proportions_2indep(direction * difference, rate, episodes, alpha=alpha, return_results=False)
        return float(found) - power

    farthest = max(rate, 1.0 - rate) - _RESOLUTION  # rates 0 and 1 have no variance and no power function
    return float(brentq(surplus, _RESOLUTION, farthest, xtol=_RESOLUTION)) if surplus(farthest) >= 0 else NAN


def expected_discordance(discordant: int, pairs: int) -> float:
    """Return the expected fraction of discordant pairs: two of four pseudo-pairs are added, so it is never zero."""
    return (discordant + 2) / (pairs + 4)


def _smallest(enough: Callable[[int], bool]) -> int:
    """Return the smallest sufficient number by bisection."""
    high = 1
    while not enough(high):
        high *= 2
        if high > _MAX_PAIRS:
            raise ValueError(f"more than {_MAX_PAIRS} episodes")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
