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

# ~ Two policies on the same episodes: what a pair of outcomes can be, how the rates differ, and whether by chance.

_RESAMPLES = 9999
_SEED = 0  # of the resampling: the same ledgers give the same table


@dataclass(frozen=True)
class PairCounts:
    """How often both, one or none of two policies succeeded in the same episode."""

    both: int
    first_only: int
    second_only: int
    neither: int

    @classmethod
    def of(cls, first: ArrayLike, second: ArrayLike) -> Self:
        """Count the pairs of two arrays of successes, whose episodes stand in the same order."""
        one, other = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
        if one.shape != other.shape:
            raise ValueError(f"{one.size} outcomes of the first policy, {other.size} of the second")
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
        """Episodes that both policies met."""
        return self.both + self.first_only + self.second_only + self.neither

    @property
    def discordant(self) -> int:
        """Pairs in which exactly one policy succeeded: all that tells the policies apart."""
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
        """Success rate of the first policy less that of the second, -1..1."""
        return (self.first_only - self.second_only) / self.pairs if self.pairs else NAN


@dataclass(frozen=True)
class Difference:
    """A difference of two success rates with its confidence interval, all -1..1."""

    value: float
    low: float
    high: float


def mcnemar_exact(counts: PairCounts) -> float:
    """Return the two-sided p-value of the exact McNemar test: the policies succeed equally often.

    Over several tasks the summed counts may be given. The test is then exact for "no difference in any task", and
    conservative for "no difference on average" where each task has as many pairs: the number of first-only among the
    discordant is a sum of unequal coins, which varies less than that of equal ones (Hoeffding 1956).
    """
    table = [[counts.both, counts.first_only], [counts.second_only, counts.neither]]
    return float(mcnemar(table, exact=True).pvalue)


def mean_difference(tasks: Sequence[PairCounts], confidence: float = CONFIDENCE) -> Difference:
    """Return the mean over tasks of the difference, each task counting alike, with its interval.

    The interval is Bonett and Price's (2012): Wald's after one pair of each discordant kind was added, so it has a
    width without discordant pairs. Over several tasks it is made for as many pairs of one task as would give the mean
    the same variance, as `suite_average.fixed_tasks` does. No library has it; results/statistics_simulation.md compares
    it with the bootstrap.
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

    The pairs of each task are drawn anew with replacement; the tasks stay, since they are the suite. Without discordant
    pairs the interval has no width, and with few it is too narrow.
    """
    samples = [_differences(task) for task in tasks if task.pairs]
    if not samples:
        return Difference(NAN, NAN, NAN)
    value = float(np.mean([sample.mean() for sample in samples]))
    if all(np.ptp(sample) == 0 for sample in samples):  # nothing varies, which scipy warns about
        return Difference(value, value, value)

    def statistic(*drawn: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        return np.asarray(sum(sample.mean(axis=axis) for sample in drawn) / len(drawn))

    samples = [np.repeat(sample, 2) if len(sample) == 1 else sample for sample in samples]  # scipy wants two or more
    found = bootstrap(
        samples, statistic, n_resamples=resamples, confidence_level=confidence, method="percentile", rng=_SEED
    ).confidence_interval
    return Difference(value, float(found.low), float(found.high))


def _variance(first_only: NDArray[np.float64], second_only: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the variance of a pair's difference, 1, -1 or 0, from the shares of the first two."""
    return np.asarray(first_only + second_only - (first_only - second_only) ** 2)


def _differences(counts: PairCounts) -> NDArray[np.float64]:
    kinds = (counts.first_only, counts.second_only, counts.both + counts.neither)
    return np.repeat([1.0, -1.0, 0.0], kinds)


# ~ What episodes that ended in an error could change: the counts without them, and in the worst and the best case.


@dataclass(frozen=True)
class BoundedPairs:
    """Pairs of outcomes, counted three ways; all the same where no episode ended in an error."""

    counted: PairCounts  # pairs with an error left out
    worst: PairCounts  # for the first policy: its errors are failures, those of the second successes
    best: PairCounts  # the other way round
    errors: int  # pairs in which a policy had an error


def bounded_pairs(first: "pd.Series[str]", second: "pd.Series[str]") -> BoundedPairs:
    """Count the outcomes `success`, `failure` and `error` of two policies in the same episodes."""
    one, other = first.to_numpy(), second.to_numpy()
    broken = (one == "error") | (other == "error")
    return BoundedPairs(
        counted=PairCounts.of(one[~broken] == "success", other[~broken] == "success"),
        worst=PairCounts.of(one == "success", np.isin(other, ("success", "error"))),
        best=PairCounts.of(np.isin(one, ("success", "error")), other == "success"),
        errors=int(broken.sum()),
    )


# ~ How much of a policy's success is lost without something it should use: the score behind language and vision
# ~ use.

_WEIGHT_DRAWS = 4000
_WEIGHT_SEED = 0  # of the drawing: the same ledgers give the same table


@dataclass(frozen=True)
class FractionLost:
    """A share 0..1 with its interval; NaN where the policy is not above the floor."""

    value: float
    low: float
    high: float


def fraction_lost(tasks: Sequence[NDArray[np.bool_]], without: int, confidence: float = CONFIDENCE) -> FractionLost:
    """Return (own - without) / (own - floor), cut to 0..1; rates are means over tasks, each counting alike.

    Each of `tasks` has a row an episode: own success, success under each of `without` controls, then at each floor. Of
    several controls, and of several floors, the one that succeeds most counts.

    The interval is Rubin's Bayesian bootstrap (1981) of whole episodes, so what belongs to one episode stays together.
    Two made-up episodes that no floor solves, one in which the control loses the success and one in which it keeps it,
    are shared out over the tasks: as in Bonett and Price's interval, there is a width where all episodes ended alike.
    results/share_lost_coverage.md says how often it covers.
    """
    tasks = [task for task in tasks if len(task)]
    if not tasks:
        return FractionLost(NAN, NAN, NAN)
    value = float(_fractions(np.mean([task.mean(axis=0) for task in tasks], axis=0)[None], without)[0])
    if np.isnan(value):
        return FractionLost(NAN, NAN, NAN)
    shares = _fractions(_weighted_rates(tasks, without), without)
    tail = 50.0 * (1.0 - confidence)  # percent
    low = np.percentile(np.nan_to_num(shares, nan=0.0), tail)  # a draw at the floor says nothing either way
    high = np.percentile(np.nan_to_num(shares, nan=1.0), 100.0 - tail)
    return FractionLost(value, min(float(low), value), max(float(high), value))


def _weighted_rates(tasks: Sequence[NDArray[np.bool_]], without: int) -> NDArray[np.float64]:
    """Return the mean rates of `_WEIGHT_DRAWS` weighted studies, (draws, columns)."""
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
