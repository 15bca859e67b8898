"""The average success rate of a suite, every task counting alike, with intervals for two different questions.

*Would it come out the same with other episodes of these tasks?* The tasks are the suite and stay: `fixed_tasks`.
*Would it come out the same on other tasks like these?* The tasks are a sample, and how they differ counts as well:
`sampled_tasks`, which is much wider and means little with few tasks.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import bootstrap, norm, t
from statsmodels.stats.proportion import proportion_confint

from vla_bench.results.statistics.proportions import CONFIDENCE, NAN, Proportion

FEWEST_TASKS = 2

_RESAMPLES = 9999
_SEED = 0  # of the resampling: the same ledgers give the same table


def fixed_tasks(successes: Sequence[int], trials: Sequence[int], confidence: float = CONFIDENCE) -> Proportion:
    """Return the mean of the tasks' success rates with the interval for the same tasks; tasks without trials are left
    out.

    Each task has its Wilson interval; the distances of its limits from its rate are squared and added (Zou and Donner
    2008; for one task it is Wilson's). Unlike the bootstrap it has a width where every episode succeeded.
    """
    counted = [(hits, count) for hits, count in zip(successes, trials, strict=True) if count]
    if not counted:
        return Proportion(NAN, NAN, NAN)
    hits, counts = np.array(counted).T
    rate, low, high = squared_and_added(hits, counts, confidence)
    return Proportion(float(rate), float(low), float(high))


def squared_and_added(
    successes: ArrayLike, trials: ArrayLike, confidence: float = CONFIDENCE
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean rate over the last axis, the tasks, and its limits; see `fixed_tasks`."""
    hits, counts = np.asarray(successes), np.asarray(trials)
    rates = hits / counts
    low, high = proportion_confint(hits, counts, alpha=1.0 - confidence, method="wilson")
    mean, tasks = rates.mean(axis=-1), rates.shape[-1]
    below = np.sqrt(((rates - np.minimum(low, rates)) ** 2).sum(axis=-1)) / tasks
    above = np.sqrt(((np.maximum(high, rates) - rates) ** 2).sum(axis=-1)) / tasks
    return mean, np.maximum(mean - below, 0.0), np.minimum(mean + above, 1.0)


def sampled_tasks(successes: Sequence[int], trials: Sequence[int], confidence: float = CONFIDENCE) -> Proportion:
    """Return the mean of the tasks' success rates with the interval for tasks like these: a task-clustered bootstrap.

    Whole tasks are drawn anew, so the episodes of a task stay together; their rates carry the chance of the episodes
    with them, which are therefore not drawn a second time (Davison and Hinkley 1997, section 3.8). Percentiles are
    taken as far out as Student's t asks for with so few tasks (Hesterberg 2015), and the interval is never narrower
    than that for fixed tasks. NaN limits for fewer than two tasks.
    """
    fixed = fixed_tasks(successes, trials, confidence)
    rates = [hits / count for hits, count in zip(successes, trials, strict=True) if count]
    if len(rates) < FEWEST_TASKS:
        return Proportion(fixed.rate, NAN, NAN)
    low, high = clustered_bootstrap(rates, confidence)
    return Proportion(fixed.rate, min(float(low), fixed.low), max(float(high), fixed.high))


def clustered_bootstrap(
    rates: ArrayLike, confidence: float = CONFIDENCE, resamples: int = _RESAMPLES, seed: int = _SEED
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the limits of the mean over the last axis, the tasks, by drawing tasks with replacement."""
    values = np.asarray(rates, dtype=np.float64)
    found = bootstrap(
        (values,),
        np.mean,
        axis=-1,
        n_resamples=resamples,
        confidence_level=expanded(confidence, values.shape[-1]),
        method="percentile",
        rng=seed,
    ).confidence_interval
    return np.asarray(found.low), np.asarray(found.high)


def expanded(confidence: float, count: int) -> float:
    """Return the level whose percentiles are as wide as Student's interval of `count` values (Hesterberg 2015)."""
    quantile = t.ppf(0.5 + confidence / 2, count - 1) * math.sqrt(count / (count - 1))
    return float(1.0 - 2.0 * norm.sf(quantile))
