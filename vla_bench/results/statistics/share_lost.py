"""How much of a policy's success is lost without something it should use: the score behind language and vision use."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_bench.results.statistics.proportions import CONFIDENCE, NAN

_DRAWS = 4000
_SEED = 0  # of the drawing: the same ledgers give the same table


@dataclass(frozen=True)
class ShareLost:
    """A share 0..1 with its interval; NaN where the policy is not above the floor."""

    value: float
    low: float
    high: float


def share_lost(tasks: Sequence[NDArray[np.bool_]], without: int, confidence: float = CONFIDENCE) -> ShareLost:
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
        return ShareLost(NAN, NAN, NAN)
    value = float(_shares(np.mean([task.mean(axis=0) for task in tasks], axis=0)[None], without)[0])
    if np.isnan(value):
        return ShareLost(NAN, NAN, NAN)
    shares = _shares(_drawn(tasks, without), without)
    tail = 50.0 * (1.0 - confidence)  # percent
    low = np.percentile(np.nan_to_num(shares, nan=0.0), tail)  # a draw at the floor says nothing either way
    high = np.percentile(np.nan_to_num(shares, nan=1.0), 100.0 - tail)
    return ShareLost(value, min(float(low), value), max(float(high), value))


def _drawn(tasks: Sequence[NDArray[np.bool_]], without: int) -> NDArray[np.float64]:
    """Return the mean rates of `_DRAWS` weighted studies, (draws, columns)."""
    generator = np.random.default_rng(_SEED)
    made_up = np.zeros((2, tasks[0].shape[1]))
    made_up[:, 0] = 1.0
    made_up[1, 1 : 1 + without] = 1.0
    total = np.zeros((_DRAWS, tasks[0].shape[1]))
    for task in tasks:
        shape = np.concatenate([np.ones(len(task)), np.full(2, 1.0 / len(tasks))])
        weights = generator.gamma(shape, size=(_DRAWS, len(shape)))
        total += weights @ np.concatenate([task, made_up]) / weights.sum(axis=1, keepdims=True)
    return total / len(tasks)


def _shares(rates: NDArray[np.float64], without: int) -> NDArray[np.float64]:
    own, kept, floor = rates[:, 0], rates[:, 1 : 1 + without].max(axis=1), rates[:, 1 + without :].max(axis=1)
    above = own - floor
    shares = np.divide(own - kept, above, out=np.full(len(rates), np.nan), where=above > 1e-12)
    return np.asarray(np.clip(shares, 0.0, 1.0))
