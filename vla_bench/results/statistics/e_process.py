"""Sequential evidence by betting on paired episodes (an e-process), valid after any number of rounds.

Null hypothesis: the average difference of a suite is at most d. Each pair's difference x in {-1, 0, 1} is a fair or
a losing bet under it: a stake s multiplies the capital by 1 + s (x - d). By Ville's inequality the probability that
a capital of 1 ever reaches 1/alpha is at most alpha, for any stopping rule (Ville 1939; Waudby-Smith and Ramdas
2024, "Estimating means of bounded random variables by betting"). The best stake depends on the unknown difference,
so the capital is spread over many stakes; for d = 0 and discordant pairs this is the beta-binomial mixture (Robbins
1970).

The average of several tasks needs no more: in a round the same sum is staked on every task, spread over its pairs.
The expected factor of a round is then at most exp(s * sum over tasks of (d_task - d)), which is at most 1 where the
average is at most d. A round may hold different numbers of pairs per task, as long as they were fixed before the
round.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DIFFERENCES: Array = np.linspace(-0.99, 0.99, 199)  # tested differences, in steps of one point
# fractions of the largest stake that keeps the capital positive after a lost pair
STAKES: Array = (np.arange(32) + 0.5) / 32


@dataclass(frozen=True)
class RoundCounts:
    """Outcome of one round, or of several equal ones; one entry per task."""

    wins: NDArray[np.int64]  # pairs in which only the first policy succeeded
    losses: NDArray[np.int64]
    pairs: NDArray[np.int64]
    stakes: NDArray[np.int64]  # pairs of a task in one round, which share the stake of the round


class Capital:
    """Evidence that the average difference is larger than each of `differences`."""

    def __init__(self, differences: Array = DIFFERENCES) -> None:
        self._differences = differences[:, None]
        self._stakes = STAKES / (1.0 + self._differences)  # (differences, stakes): no pair loses more than the capital
        self._log = np.zeros_like(self._stakes)
        self._peak = np.zeros(len(differences))
        self._factors: dict[tuple[int, int], Array] = {}

    def add(self, played: RoundCounts) -> None:
        """Add rounds and update the capital."""
        for size in map(int, np.unique(played.stakes)):
            of_size = played.stakes == size
            wins, losses = int(played.wins[of_size].sum()), int(played.losses[of_size].sum())
            ties = int(played.pairs[of_size].sum()) - wins - losses
            for count, outcome in ((wins, 1), (losses, -1), (ties, 0)):
                if count:
                    self._log += count * self._log_factor(size, outcome)
        self._peak = np.maximum(self._peak, log_mean_exp(self._log))

    def log_peak(self) -> Array:
        """Return the logarithm of the largest capital so far against each difference."""
        return self._peak

    def _log_factor(self, size: int, outcome: int) -> Array:
        """Return the log factor of the capital for one pair with this outcome, in a task with `size` pairs per
        round.
        """
        if (size, outcome) not in self._factors:
            self._factors[size, outcome] = np.log1p(self._stakes / size * (outcome - self._differences))
        return self._factors[size, outcome]


class DifferenceEvidence:
    """Evidence about the average difference of a suite, for both policies."""

    def __init__(self) -> None:
        self._above = Capital()  # than DIFFERENCES
        self._below = Capital()  # than -DIFFERENCES, with the policies exchanged

    def add(self, played: RoundCounts) -> None:
        """Add one round."""
        self._above.add(played)
        self._below.add(RoundCounts(played.losses, played.wins, played.pairs, played.stakes))

    def log_first_better(self) -> float:
        """Return the largest log capital so far against "the first policy is not better on average"."""
        return float(self._above.log_peak()[len(DIFFERENCES) // 2])

    def log_second_better(self) -> float:
        """Return the largest log capital for the second policy."""
        return float(self._below.log_peak()[len(DIFFERENCES) // 2])

    def interval(self, alpha: float) -> tuple[float, float]:
        """Return limits of the average difference, simultaneously valid at all times with confidence 1 - alpha."""
        enough = np.log(2.0 / alpha)
        return _largest_excluded_difference(self._above, enough), -_largest_excluded_difference(self._below, enough)


def task_log_evidence(wins: int, losses: int) -> float:
    """Return the log capital against "no difference in this task" after so many discordant pairs, in either direction.

    It may be evaluated after every pair, whatever decided to run the pair.
    """
    signs = np.array([[1.0], [-1.0]])
    return float(log_mean_exp((wins * np.log1p(signs * STAKES) + losses * np.log1p(-signs * STAKES)).ravel()))


def log_mean_exp(log: Array) -> Array:
    """Return the logarithm of the mean over the last axis, given logarithms."""
    top = log.max(axis=-1)
    return np.asarray(top + np.log(np.exp(log - top[..., None]).mean(axis=-1)))


def _largest_excluded_difference(capital: Capital, enough: float) -> float:
    """Return the largest difference below which all differences are excluded, or -1."""
    kept = np.flatnonzero(capital.log_peak() < enough)
    first = int(kept[0]) if kept.size else len(DIFFERENCES)
    return float(DIFFERENCES[first - 1]) if first else -1.0
