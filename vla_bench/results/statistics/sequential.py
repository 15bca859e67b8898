"""A sequential comparison of two policies, which stops once decided and names the episodes needed next."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vla_bench.results.statistics.e_process import DifferenceEvidence, RoundCounts, task_log_evidence
from vla_bench.results.statistics.multiple_comparisons import holm
from vla_bench.results.statistics.proportions import NAN

Finding = Literal["first", "second", "equivalent", "undecided"]

BATCH = 16
_MAX_PAIRS_PER_ROUND = 2  # of one task: with more, each pair's stake is too small (results/statistics_simulation.md)


@dataclass(frozen=True)
class PairedOutcome:
    """How one episode went for both policies; None for an episode that ended in an error."""

    task: str
    index: int
    first: bool | None
    second: bool | None

    @property
    def difference(self) -> int | None:
        """1 where only the first succeeded, -1 where only the second did, None where nothing can be said."""
        return None if self.first is None or self.second is None else int(self.first) - int(self.second)


@dataclass(frozen=True)
class TaskEvidence:
    """What is known of one task."""

    task: str
    pairs: int  # that count; complete rounds alone
    wins: int  # of them: only the first policy succeeded
    losses: int
    p: float  # that the policies do not differ in it, valid at any time


@dataclass(frozen=True)
class Decision:
    """Where a sequential comparison stands."""

    finding: Finding  # the better policy, if one is; "equivalent": the difference is within the margin
    stopped: bool  # decided, or no episodes are left
    pairs: int  # that count
    difference: float  # mean over tasks, first less second, -1..1
    low: float  # limits that hold at all times at once
    high: float
    p: float  # valid at any time, two-sided
    tasks: tuple[TaskEvidence, ...]

    def adjusted(self) -> dict[str, float]:
        """Return the tasks' p-values adjusted by Holm's method; they too may be looked at at any time."""
        names = [task.task for task in self.tasks]
        return dict(zip(names, map(float, holm(task.p for task in self.tasks)), strict=True))


class SequentialComparison:
    """Compare the average success of two policies over tasks, stopping as soon as `alpha` allows it.

    `episodes` names for each task the indices that may be run, in the order in which they will be. They are asked for
    in rounds: every task takes part in every round, with two pairs where the policies have differed more often and one
    elsewhere, because a task in which both always succeed decides nothing. A batch is as many rounds
    as make `batch` episodes; whether to stop is asked after each batch, so what is run does not depend on how many
    episodes run at once. An episode with an error is passed over for the task's next one.

    The chance to ever call a policy better that is not is at most alpha, whatever the true differences of the tasks:
    see `e_process`. All that counts are the outcomes, so a comparison begun again with the same ones stands where it
    stood.
    """

    def __init__(
        self, episodes: Mapping[str, Sequence[int]], *, alpha: float = 0.05, margin: float = 0.0, batch: int = BATCH
    ) -> None:
        if not episodes or not all(episodes.values()):
            raise ValueError("every task needs at least one episode")
        if not 0.0 < alpha < 1.0 or not 0.0 <= margin < 1.0 or batch < 1:
            raise ValueError(f"alpha {alpha}, margin {margin} and batch {batch} must be in (0, 1), in [0, 1) and >= 1")
        self._alpha, self._margin, self._batch = alpha, margin, batch
        self._tasks = {task: _Task(task, tuple(indices)) for task, indices in episodes.items()}
        self._evidence = DifferenceEvidence()
        self._open_batch()

    def update(self, pairs: Iterable[PairedOutcome]) -> Decision:
        """Take in outcomes, in any order, and return where the comparison stands."""
        for pair in pairs:
            self._tasks[pair.task].outcomes.setdefault(pair.index, pair.difference)
        while not self._finished and not self.wanted():
            self._play()
            self._open_batch()
        return self.decision()

    def wanted(self) -> list[tuple[str, int]]:
        """Return the episodes (task, index) that the current batch lacks, round after round; none when it is over."""
        if self._finished:
            return []
        lacking = {name: task.lacking(task.asked * self._rounds) for name, task in self._tasks.items()}
        rounds = [
            (number // self._tasks[name].asked, name, index)
            for name, indices in lacking.items()
            for number, index in enumerate(indices)
        ]
        return [(name, index) for _, name, index in sorted(rounds, key=lambda entry: entry[0])]

    def decision(self) -> Decision:
        """Return where the comparison stands after the last whole batch."""
        low, high = self._evidence.interval(self._alpha)
        log_p = math.log(2.0) - max(self._evidence.log_first_better(), self._evidence.log_second_better())
        tasks = [task for task in self._tasks.values() if task.pairs]
        return Decision(
            finding=self._finding(),
            stopped=self._finished,
            pairs=sum(task.pairs for task in tasks),
            difference=sum(task.net / task.pairs for task in tasks) / len(tasks) if tasks else NAN,
            low=low,
            high=high,
            p=math.exp(min(0.0, log_p)),
            tasks=tuple(
                TaskEvidence(task.name, task.pairs, task.wins, task.losses, math.exp(min(0.0, -task.log_peak)))
                for task in self._tasks.values()
            ),
        )

    def _finding(self) -> Finding:
        enough = math.log(2.0 / self._alpha)  # half of alpha for each direction
        if self._evidence.log_first_better() >= enough:
            return "first"
        if self._evidence.log_second_better() >= enough:
            return "second"
        low, high = self._evidence.interval(self._alpha)
        return "equivalent" if -self._margin <= low <= high <= self._margin else "undecided"

    def _play(self) -> None:
        """Take the outcomes of the whole batch into account; errors may have left fewer rounds than were planned."""
        rounds = min(self._rounds, *(task.left // task.asked for task in self._tasks.values()))
        counts = np.array([task.play(task.asked * rounds) for task in self._tasks.values()])
        asked = np.array([task.asked for task in self._tasks.values()])
        self._evidence.add(RoundCounts(counts[:, 0], counts[:, 1], counts[:, 2], asked))

    def _open_batch(self) -> None:
        """Fix how many pairs of each task a round of the next batch has, and how many rounds it has."""
        tasks = self._tasks.values()
        asked, rounds = next_batch(
            [task.wins + task.losses for task in tasks],
            [task.pairs for task in tasks],
            [task.left for task in tasks],
            self._batch,
        )
        for task, pairs in zip(tasks, asked, strict=True):
            task.asked = int(pairs)
        self._rounds = int(rounds)
        self._finished = self._rounds == 0 or self._finding() != "undecided"


def next_batch(
    discordant: ArrayLike, pairs: ArrayLike, left: ArrayLike, batch: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many pairs of each task a round has (last axis: tasks), and of how many rounds the batch consists.

    The pairs follow the standard deviation of a pair's difference, as Neyman's allocation has it, with one more
    discordant pair counted: none seen is not none.
    """
    spread = np.sqrt((np.asarray(discordant) + 1) / (np.asarray(pairs) + 2))
    wished = np.rint(spread / spread.min(axis=-1, keepdims=True)).clip(1, _MAX_PAIRS_PER_ROUND)
    asked = np.minimum(wished, np.maximum(left, 1)).astype(np.int64)
    possible = (np.asarray(left) // asked).min(axis=-1)
    return asked, np.minimum(possible, -(-batch // asked.sum(axis=-1)))


class _Task:
    """The episodes of one task, played in the order of their indices."""

    def __init__(self, name: str, indices: tuple[int, ...]) -> None:
        self.name = name
        self.outcomes: dict[int, int | None] = {}
        self.asked = 1  # pairs a round of the current batch
        self.pairs = self.wins = self.losses = 0  # played
        self.log_peak = 0.0
        self._indices = indices
        self._next = 0  # position of the first that was not played

    @property
    def net(self) -> int:
        """Wins less losses."""
        return self.wins - self.losses

    @property
    def left(self) -> int:
        """How many more episodes may be played, as far as is known."""
        return len(self._playable())

    def lacking(self, count: int) -> list[int]:
        """Return which of the next `count` episodes have no outcome yet."""
        return [index for index in self._playable()[:count] if index not in self.outcomes]

    def play(self, count: int) -> tuple[int, int, int]:
        """Play the next `count` pairs and return (wins, losses, pairs)."""
        played = self._playable()[:count]
        if played:
            self._next = self._indices.index(played[-1]) + 1
        results = [self.outcomes[index] for index in played]
        for result in results:
            self.wins, self.losses = self.wins + (result == 1), self.losses + (result == -1)
            self.log_peak = max(self.log_peak, task_log_evidence(self.wins, self.losses))
        self.pairs += count
        return results.count(1), results.count(-1), count

    def _playable(self) -> list[int]:
        return [index for index in self._indices[self._next :] if self.outcomes.get(index, 0) is not None]
