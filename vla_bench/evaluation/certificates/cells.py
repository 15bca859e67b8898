"""Which episodes of a task under a perturbation are tried next, and which are used: pure functions of certificates."""

from collections.abc import Mapping
from dataclasses import dataclass

from vla_bench.core.episode import CLEAN, EpisodeIdentity
from vla_bench.results.certificates import Certificate

Known = Mapping[EpisodeIdentity, Certificate]


@dataclass(frozen=True)
class Cell:
    """A task under one perturbation, or clean."""

    suite: str
    task: str
    variant: str

    def episode(self, index: int, seed: int) -> EpisodeIdentity:
        """Return its episode of this index."""
        return EpisodeIdentity(self.suite, self.task, index, seed, self.variant)

    def clean(self) -> "Cell":
        """Return the clean cell of the same task."""
        return Cell(self.suite, self.task, CLEAN)


@dataclass(frozen=True)
class Quota:
    """How many certified episodes each cell wants, and among how many indices they may be looked for."""

    episodes: int
    most: int
    seed: int = 0

    def untried(self, cell: Cell, known: Known) -> list[EpisodeIdentity]:
        """Return the next episodes to certify, none where there are enough or the indices are used up.

        An episode that the expert does not solve, or whose clean twin it does not solve, is replaced by that of the
        next index. The clean twin comes first.
        """
        counted, untried = 0, list[EpisodeIdentity]()
        for index in range(self.most):
            if counted >= self.episodes:
                break
            clean, own = cell.clean().episode(index, self.seed), cell.episode(index, self.seed)
            ask = next((episode for episode in (clean, own) if episode not in known), None)
            if ask is not None and (ask == clean or known[clean].solved):
                untried.append(ask)
                counted += 1  # it may turn out well
            elif ask is None:
                counted += known[clean].solved and known[own].solved
        return untried

    def used(self, cell: Cell, known: Known) -> list[EpisodeIdentity]:
        """Return the certified episodes that count: the first that the expert solves, clean and so."""
        found: list[EpisodeIdentity] = []
        for index in range(self.most):
            pair = cell.clean().episode(index, self.seed), cell.episode(index, self.seed)
            if len(found) < self.episodes and all(episode in known and known[episode].solved for episode in pair):
                found.append(pair[1])
        return found
