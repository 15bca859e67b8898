"""Multiple comparisons: Holm-adjusted p-values, and ranks of policies from pairwise tests."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from string import ascii_lowercase

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.multitest import multipletests


def holm(p_values: Iterable[float]) -> NDArray[np.float64]:
    """Return Holm-adjusted p-values in the given order; NaN (no test) is kept and not counted.

    Holm (1979) controls the family-wise error under any dependence between the tests.
    """
    adjusted = np.array(list(p_values), dtype=np.float64)
    made = ~np.isnan(adjusted)
    if made.any():
        adjusted[made] = multipletests(adjusted[made], method="holm")[1]
    return adjusted


@dataclass(frozen=True)
class Rank:
    """Range of possible ranks of a policy, from `first` to `last`."""

    first: int
    last: int
    group: str  # letters; policies that share one are not significantly different

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first} to {self.last}"


def rank(policies: Sequence[str], better: Collection[tuple[str, str]]) -> dict[str, Rank]:
    """Return the ranks of `policies`, the best estimate first; `better` holds (winner, loser) of significant tests.

    A policy's range of ranks runs from one more than the number of those found better to the number of those not found
    worse. With p-values that hold the family-wise error over all pairs, all ranges are right at once with that
    confidence (Al Mohamad, Goeman and van Zwet 2022).
    """
    letters = group_letters(policies, better)
    wins = {name: sum(name == winner for winner, _ in better) for name in policies}
    losses = {name: sum(name == loser for _, loser in better) for name in policies}
    return {name: Rank(1 + losses[name], len(policies) - wins[name], letters[name]) for name in policies}


def group_letters(policies: Sequence[str], different: Collection[tuple[str, str]]) -> dict[str, str]:
    """Return the compact letter display (Piepho 2004, insert and absorb): significantly different pairs share no
    letter.
    """
    groups = [frozenset(policies)]
    for one, other in different:
        split = [part for group in groups for part in _without_pair(group, one, other)]
        groups = [group for group in dict.fromkeys(split) if not any(group < larger for larger in split)]
    groups.sort(key=lambda group: sorted(policies.index(name) for name in group))
    return {name: "".join(_letter(n) for n, group in enumerate(groups) if name in group) for name in policies}


def _without_pair(group: frozenset[str], one: str, other: str) -> list[frozenset[str]]:
    return [group - {one}, group - {other}] if {one, other} <= group else [group]


def _letter(number: int) -> str:
    turns, place = divmod(number, len(ascii_lowercase))
    return ascii_lowercase[place] + str(turns) * bool(turns)
