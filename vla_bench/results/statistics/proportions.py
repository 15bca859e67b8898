"""Success rates with their intervals, means with their spread."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95
NAN = float("nan")


@dataclass(frozen=True)
class Proportion:
    """A share with its confidence interval, all 0..1; NaN where there was nothing to count."""

    rate: float
    low: float
    high: float


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> Proportion:
    """Return the success rate with its Wilson score interval, which is not degenerate at 0 or `trials` successes."""
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials")
    if trials == 0:
        return Proportion(NAN, NAN, NAN)
    low, high = proportion_confint(successes, trials, alpha=1.0 - confidence, method="wilson")
    rate = successes / trials
    return Proportion(rate, min(max(float(low), 0.0), rate), max(min(float(high), 1.0), rate))  # rounding off


def mean_and_std(values: Iterable[float]) -> tuple[float, float]:
    """Return the mean and the sample standard deviation (n - 1); NaN where there are too few values for them."""
    numbers = np.asarray(list(values), dtype=np.float64)
    mean = float(numbers.mean()) if numbers.size else NAN
    return mean, float(numbers.std(ddof=1)) if numbers.size > 1 else NAN
