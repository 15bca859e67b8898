"""Statistics of paired episodes: exact test, difference of success rates, bounds for errors, fraction lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import bootstrap, norm
from statsmodels.stats.contingency_tables import mcnemar

from vla_bench.results.statistics.proportions import CONFIDENCE, NAN, effective_episodes

_RESAMPLES = 9999
_SEED = 0  # seed of the resampling: equal ledgers give equal tables


@dataclass(frozen=True)
class PairCounts:
    """Number of episodes in which both, one or none of two policies succeeded."""

    both: int
    first_only: int
    second_only: int
    neither: int

    @classmethod
    def of(cls, first: ArrayLike, second: ArrayLike) -> Self:
        """Return the counts of two arrays of successes with the same order of episodes."""
        one, other = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
        if one.shape != other.shape:
            raise ValueError(f"Outcomes are not paired: {one.size} of the first policy, {other.size} of the second")
        cells = (one & other, one & ~other, ~one & other, ~one & ~other)
        return cls(*(int(cell.sum()) for cell in cells))

    def __add__(self, other: "PairCounts") -> "PairCounts":
        return PairCounts(
            self.both + other.both,
            self.first_only + other.first_only,
            self.second_only + other.second_only,
            self.neither + other.neither,
        )

    @property
    def pairs(self) -> int:
        """Number of common episodes."""
        return self.both + self.first_only + self.second_only + self.neither

    @property
    def discordant(self) -> int:
        """Number of pairs in which exactly one policy succeeded: the evidence for a difference."""
        return self.first_only + self.second_only

    @property
    def first_rate(self) -> float:
        """Success rate of the first policy."""
        return (self.both + self.first_only) / self.pairs if self.pairs else NAN

    @property
    def second_rate(self) -> float:
        """Success rate of the second policy."""
        return (self.both + self.second_only) / self.pairs if self.pairs else NAN

    @property
    def difference(self) -> float:
        """Success rate of the first policy minus that of the second, -1..1."""
        return (self.first_only - self.second_only) / self.pairs if self.pairs else NAN


@dataclass(frozen=True)
class Difference:
    """A difference of two success rates with its confidence interval, all -1..1."""

    value: float
    low: float
    high: float


def mcnemar_exact(counts: PairCounts) -> float:
    """Return the two-sided p-value of the exact McNemar test of equal success rates.

    For several tasks pass the summed counts. The test is then exact for "no difference in any task", and
    conservative for "no difference on average" with equal numbers of pairs per task: the number of first-only pairs
    among the discordant ones is a sum of unequal coins, which varies less than that of equal coins (Hoeffding 1956).
    """
    table = [[counts.both, counts.first_only], [counts.second_only, counts.neither]]
    return float(mcnemar(table, exact=True).pvalue)


def mean_difference(tasks: Sequence[PairCounts], confidence: float = CONFIDENCE) -> Difference:
    """Return the mean difference over tasks, with equal weight of each task, and its interval.

    The interval is that of Bonett and Price (2012): Wald after adding one discordant pair of each kind, so its width is
    positive without discordant pairs. For several tasks it uses the number of pairs of one task with the same variance
    of the mean, like `proportions.fixed_tasks`. No library provides it; results/statistics_simulation.md compares it
    with the bootstrap.
    """
    counts = np.array([[task.first_only, task.second_only, task.pairs] for task in tasks if task.pairs], dtype=float)
    if not counts.size:
        return Difference(NAN, NAN, NAN)
    value, low, high = adjusted_difference(counts[:, 0], counts[:, 1], counts[:, 2], confidence)
    return Difference(float(value), float(low), float(high))


def adjusted_difference(
    first_only: NDArray[np.float64],
    second_only: NDArray[np.float64],
    pairs: NDArray[np.float64],
    confidence: float = CONFIDENCE,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean difference over the last axis, the tasks, and its limits; see `mean_difference`."""
    one, other = first_only / pairs, second_only / pairs
    mean_one, mean_other = one.mean(axis=-1), other.mean(axis=-1)
    mean = mean_one - mean_other
    added = _variance((first_only + 1) / (pairs + 2), (second_only + 1) / (pairs + 2))
    count = effective_episodes(_variance(one, other), added, _variance(mean_one, mean_other), pairs)
    one, other = ((share * count + 1) / (count + 2) for share in (mean_one, mean_other))
    half = norm.ppf(0.5 + confidence / 2) * np.sqrt(_variance(one, other) / (count + 2))
    return mean, np.clip(one - other - half, -1.0, mean), np.clip(one - other + half, mean, 1.0)


def bootstrap_difference(
    tasks: Sequence[PairCounts], confidence: float = CONFIDENCE, resamples: int = _RESAMPLES
) -> Difference:
    """Return the mean difference over tasks with its percentile interval by the paired bootstrap.

    The pairs of each task are resampled with replacement; the tasks are fixed because they are the suite. Without
    discordant pairs the interval has zero width, and with few it is too narrow.
    """
    samples = [_differences(task) for task in tasks if task.pairs]
    if not samples:
        return Difference(NAN, NAN, NAN)
    value = float(np.mean([sample.mean() for sample in samples]))
    if all(np.ptp(sample) == 0 for sample in samples):  # no variation, which scipy warns about
        return Difference(value, value, value)

    def statistic(*drawn: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        return np.asarray(sum(sample.mean(axis=axis) for sample in drawn) / len(drawn))

    samples = [np.repeat(sample, 2) if len(sample) == 1 else sample for sample in samples]  # scipy needs two or more
    found = bootstrap(
        samples, statistic, n_resamples=resamples, confidence_level=confidence, method="percentile", rng=_SEED
    ).confidence_interval
    return Difference(value, float(found.low), float(found.high))


def _variance(first_only: NDArray[np.float64], second_only: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the variance of the difference of a pair (1, -1 or 0) from the fractions of 1 and -1."""
    return np.asarray(first_only + second_only - (first_only - second_only) ** 2)


def _differences(counts: PairCounts) -> NDArray[np.float64]:
    kinds = (counts.first_only, counts.second_only, counts.both + counts.neither)
    return np.repeat([1.0, -1.0, 0.0], kinds)


@dataclass(frozen=True)
class BoundedPairs:
    """Pairs of outcomes counted in three ways, which are equal without errors."""

    counted: PairCounts  # pairs without an error
    worst: PairCounts  # worst case of the first policy: its errors are failures, those of the second successes
    best: PairCounts  # best case of the first policy
    errors: int  # pairs in which a policy had an error


def bounded_pairs(first: "pd.Series[str]", second: "pd.Series[str]") -> BoundedPairs:
    """Return the counts for the outcomes `success`, `failure` and `error` of two policies in the same episodes."""
    one, other = first.to_numpy(), second.to_numpy()
    broken = (one == "error") | (other == "error")
    return BoundedPairs(
        counted=PairCounts.of(one[~broken] == "success", other[~broken] == "success"),
        worst=PairCounts.of(one == "success", np.isin(other, ("success", "error"))),
        best=PairCounts.of(np.isin(one, ("success", "error")), other == "success"),
        errors=int(broken.sum()),
    )


_WEIGHT_DRAWS = 4000
_WEIGHT_SEED = 0  # seed of the sampling: equal ledgers give equal tables


@dataclass(frozen=True)
class FractionLost:
    """A fraction 0..1 with its interval; NaN if the policy is not above the floor."""

    value: float
    low: float
    high: float


def fraction_lost(tasks: Sequence[NDArray[np.bool_]], without: int, confidence: float = CONFIDENCE) -> FractionLost:
    """Return (own - without) / (own - floor), clipped to 0..1; rates are means over tasks with equal weight.

    Each of `tasks` has one row per episode: own success, success under each of the `without` controls, then at each
    floor. Of several controls and of several floors the most successful one is used.

    The interval is the Bayesian bootstrap (Rubin 1981) of whole episodes, so the columns of an episode stay together.
    Two pseudo-episodes that no floor solves, one in which the control loses the success and one in which it keeps it,
    are distributed over the tasks, so that the width is positive if all episodes ended alike (as in Bonett and Price).
    results/fraction_lost_coverage.md reports the coverage.
    """
    tasks = [task for task in tasks if len(task)]
    if not tasks:
        return FractionLost(NAN, NAN, NAN)
    value = float(_fractions(np.mean([task.mean(axis=0) for task in tasks], axis=0)[None], without)[0])
    if np.isnan(value):
        return FractionLost(NAN, NAN, NAN)
    shares = _fractions(_weighted_rates(tasks, without), without)
    tail = 50.0 * (1.0 - confidence)  # percent
    low = np.percentile(np.nan_to_num(shares, nan=0.0), tail)  # a sample at the floor carries no information
    high = np.percentile(np.nan_to_num(shares, nan=1.0), 100.0 - tail)
    return FractionLost(value, min(float(low), value), max(float(high), value))


def _weighted_rates(tasks: Sequence[NDArray[np.bool_]], without: int) -> NDArray[np.float64]:
    """Return the mean rates of `_WEIGHT_DRAWS` weighted studies, (studies, columns)."""
    generator = np.random.default_rng(_WEIGHT_SEED)
    made_up = np.zeros((2, tasks[0].shape[1]))
    made_up[:, 0] = 1.0
    made_up[1, 1 : 1 + without] = 1.0
    total = np.zeros((_WEIGHT_DRAWS, tasks[0].shape[1]))
    for task in tasks:
        shape = np.concatenate([np.ones(len(task)), np.full(2, 1.0 / len(tasks))])
        weights = generator.gamma(shape, size=(_WEIGHT_DRAWS, len(shape)))
        total += weights @ np.concatenate([task, made_up]) / weights.sum(axis=1, keepdims=True)
    return total / len(tasks)


def _fractions(rates: NDArray[np.float64], without: int) -> NDArray[np.float64]:
    own, kept, floor = rates[:, 0], rates[:, 1 : 1 + without].max(axis=1), rates[:, 1 + without :].max(axis=1)
    above = own - floor
    shares = np.divide(own - kept, above, out=np.full(len(rates), np.nan), where=above > 1e-12)
    return np.asarray(np.clip(shares, 0.0, 1.0))
