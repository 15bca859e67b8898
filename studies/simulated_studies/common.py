"""Common functions of the simulations: random pairs, exact tests and formatting of tables."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from vla_bench.results.statistics.paired import PairCounts, mcnemar_exact

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]  # header, rows

ALPHA = 0.05
RESAMPLES = 999  # of a bootstrap in the simulation; result tables use 9999


def outcomes(
    wins: Sequence[float] | Array,
    losses: Sequence[float] | Array,
    pairs: int,
    count: int,
    generator: np.random.Generator,
) -> Counts:
    """Return random numbers of wins, losses and ties (count, tasks, 3)."""
    chances = np.stack([wins, losses, 1 - np.add(wins, losses)], axis=-1)
    return generator.multinomial(
        np.full((count, len(chances)), pairs), np.broadcast_to(chances, (count, *chances.shape))
    )


def exact_p(wins: Counts, losses: Counts) -> Array:
    """Return the p-values of the exact McNemar test, computed once per distinct pair of counts."""
    found, places = np.unique(np.stack([wins, losses], axis=-1).reshape(-1, 2), axis=0, return_inverse=True)
    values = np.array([mcnemar_exact(PairCounts(0, int(first), int(second), 0)) for first, second in found])
    return values[places.ravel()].reshape(np.shape(wins))


def coverage(limits: tuple[Array, Array], truth: float) -> tuple[str, str]:
    """Return the fraction of intervals that contain the truth [%] and their mean width [percentage points]."""
    low, high = limits
    holds = (low <= truth + 1e-12) & (truth - 1e-12 <= high)
    return percent(holds.mean()), points((high - low).mean())


def percent(fraction: float) -> str:
    """Return a fraction in percent, or "-" for NaN."""
    return "-" if np.isnan(fraction) else f"{100 * fraction:.1f}"


def points(difference: float) -> str:
    """Return a difference of fractions in percentage points."""
    return f"{100 * difference:.1f}"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
