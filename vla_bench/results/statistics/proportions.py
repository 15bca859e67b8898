"""Success rates with confidence intervals, of single tasks and averaged over the tasks of a suite.

The suite average has two intervals. `fixed_tasks` describes other episodes of the same tasks. `sampled_tasks`
describes other tasks like these: it includes the variation between tasks, is much wider, and means little with few
tasks.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import bootstrap, norm, t
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95
NAN = float("nan")


@dataclass(frozen=True)
class Proportion:
    """A proportion with its confidence interval, all 0..1; NaN without trials."""

    rate: float
    low: float
    high: float


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> Proportion:
    """Return the success rate with its Wilson score interval, which is not degenerate at 0 or `trials` successes."""
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials are impossible. Expected 0 <= successes <= trials")
    if trials == 0:
        return Proportion(NAN, NAN, NAN)
    low, high = proportion_confint(successes, trials, alpha=1.0 - confidence, method="wilson")
    rate = successes / trials
    # against rounding errors
    return Proportion(rate, min(max(float(low), 0.0), rate), max(min(float(high), 1.0), rate))


def mean_and_std(values: Iterable[float]) -> tuple[float, float]:
    """Return the mean and the sample standard deviation (n - 1); NaN with too few values."""
    numbers = np.asarray(list(values), dtype=np.float64)
    mean = float(numbers.mean()) if numbers.size else NAN
    return mean, float(numbers.std(ddof=1)) if numbers.size > 1 else NAN


_MIN_TASKS = 2  # tasks needed to estimate the variation between tasks
_FEW_TASKS = 10  # with fewer tasks the bootstrap alone is too narrow (results/statistics_simulation.md)
_RESAMPLES = 9999
_SEED = 0  # seed of the resampling: equal ledgers give equal tables


def fixed_tasks(successes: Sequence[int], trials: Sequence[int], confidence: float = CONFIDENCE) -> Proportion:
    """Return the mean success rate over tasks with the interval for the same tasks.

    The Wilson interval for the effective sample size: the number of episodes of a single task with the same variance of
    the mean, as for stratified surveys (Dean and Pagano 2015). For one task it is the Wilson interval itself. Unlike
    the bootstrap, its width is positive if every episode succeeded. Tasks without trials are excluded.
    """
    counted = [(hits, count) for hits, count in zip(successes, trials, strict=True) if count]
    if not counted:
        return Proportion(NAN, NAN, NAN)
    hits, counts = np.array(counted).T
    rate, low, high = (float(value) for value in stratified_wilson(hits, counts, confidence))
    return Proportion(rate, min(max(low, 0.0), rate), max(min(high, 1.0), rate))  # rounding off


def stratified_wilson(
    successes: ArrayLike, trials: ArrayLike, confidence: float = CONFIDENCE
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean rate over the last axis, the tasks, and its limits; see `fixed_tasks`."""
    hits, counts = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    rates, added = hits / counts, (hits + 1) / (counts + 2)
    mean = rates.mean(axis=-1)
    episodes = effective_episodes(rates * (1 - rates), added * (1 - added), mean * (1 - mean), counts)
    low, high = proportion_confint(mean * episodes, episodes, alpha=1.0 - confidence, method="wilson")
    return mean, np.asarray(low), np.asarray(high)


def effective_episodes(
    within: NDArray[np.float64], added: NDArray[np.float64], pooled: NDArray[np.float64], counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the effective sample size of the mean over tasks (last axis), for the variance `pooled` of one task.

    `within` is the variance of an episode inside each task, from its `counts` episodes; `added` is the same after
    adding one outcome of each kind, used if all episodes ended alike. Variances inside tasks are never larger on
    average than the pooled one, so the result is never below the true number of episodes.
    """
    unbiased = np.where(within > 0, within * counts / np.maximum(counts - 1, 1), added)
    each, together = (unbiased / counts).sum(axis=-1), pooled * (1 / counts).sum(axis=-1)
    share = np.divide(each, together, out=np.ones_like(together), where=together > each)
    return np.asarray(counts.shape[-1] ** 2 / (1 / counts).sum(axis=-1) / share)


def sampled_tasks(successes: Sequence[int], trials: Sequence[int], confidence: float = CONFIDENCE) -> Proportion:
    """Return the mean success rate over tasks with the interval for tasks like these: a task-clustered bootstrap.

    Whole tasks are resampled, so the episodes of a task stay together; task rates already include the randomness of
    episodes, which are therefore not resampled again (Davison and Hinkley 1997, section 3.8). Percentiles are widened
    for the small number of tasks (Hesterberg 2015). Below ten tasks even the outermost percentiles are too narrow, and
    the Student interval is the minimum. Never narrower than for fixed tasks; NaN limits for fewer than two tasks.
    """
    fixed = fixed_tasks(successes, trials, confidence)
    rates = np.array([hits / count for hits, count in zip(successes, trials, strict=True) if count])
    if rates.size < _MIN_TASKS:
        return Proportion(fixed.rate, NAN, NAN)
    low, high = task_clustered(rates, fixed.low, fixed.high, confidence)
    return Proportion(fixed.rate, float(low), float(high))


def task_clustered(
    rates: NDArray[np.float64],
    fixed_low: ArrayLike,
    fixed_high: ArrayLike,
    confidence: float = CONFIDENCE,
    resamples: int = _RESAMPLES,
    seed: int = _SEED,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the limits of the mean over the last axis, the tasks, given those for fixed tasks; see `sampled_tasks`."""
    lows, highs = clustered_bootstrap(rates, confidence, resamples, seed)
    if rates.shape[-1] < _FEW_TASKS:
        error = rates.std(axis=-1, ddof=1) / math.sqrt(rates.shape[-1])
        half = t.ppf(0.5 + confidence / 2, rates.shape[-1] - 1) * error
        mean = rates.mean(axis=-1)
        lows, highs = np.minimum(lows, mean - half), np.maximum(highs, mean + half)
    return np.minimum(lows, fixed_low).clip(0.0, 1.0), np.maximum(highs, fixed_high).clip(0.0, 1.0)


def clustered_bootstrap(
    rates: ArrayLike, confidence: float = CONFIDENCE, resamples: int = _RESAMPLES, seed: int = _SEED
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the limits of the mean over the last axis, the tasks, by resampling tasks with replacement."""
    values = np.asarray(rates, dtype=np.float64)
    found = bootstrap(
        (values,),
        np.mean,
        axis=-1,
        n_resamples=resamples,
        confidence_level=expanded_confidence(confidence, values.shape[-1]),
        method="percentile",
        rng=seed,
    ).confidence_interval
    return np.asarray(found.low), np.asarray(found.high)


def expanded_confidence(confidence: float, count: int) -> float:
    """Return the level whose percentiles are as wide as the Student interval of `count` values (Hesterberg 2015)."""
    quantile = t.ppf(0.5 + confidence / 2, count - 1) * math.sqrt(count / (count - 1))
    return float(1.0 - 2.0 * norm.sf(quantile))
