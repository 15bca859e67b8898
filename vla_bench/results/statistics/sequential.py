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
# pairs of one task per round: with more, the stake of each pair is too small (results/statistics_simulation.md)
_MAX_PAIRS_PER_ROUND = 2


@dataclass(frozen=True)
class PairedOutcome:
    """Outcome of one episode for both policies; None for an episode that ended in an error."""

    task: str
    index: int
    first: bool | None
    second: bool | None

    @property
    def difference(self) -> int | None:
        """1 if only the first policy succeeded, -1 if only the second did, None with an error."""
        return None if self.first is None or self.second is None else int(self.first) - int(self.second)


@dataclass(frozen=True)
class TaskEvidence:
    """State of one task."""

    task: str
    pairs: int  # counted pairs, of complete rounds only
    wins: int  # counted pairs in which only the first policy succeeded
    losses: int
    p: float  # anytime-valid p-value of no difference in this task


@dataclass(frozen=True)
class Decision:
    """State of a sequential comparison."""

    finding: Finding  # the better policy, if decided; "equivalent": the difference is within the margin
    stopped: bool  # decided, or no episodes are left
    pairs: int  # counted pairs
    difference: float  # mean over tasks, first minus second, -1..1
    low: float  # limits simultaneously valid at all times
    high: float
    p: float  # valid at any time, two-sided
    tasks: tuple[TaskEvidence, ...]

    def adjusted(self) -> dict[str, float]:
        """Return the Holm-adjusted p-values of the tasks, also valid at any time."""
        names = [task.task for task in self.tasks]
        return dict(zip(names, map(float, holm(task.p for task in self.tasks)), strict=True))


class SequentialComparison:
    """Compare the average success of two policies over tasks, stopping as soon as `alpha` allows it.

    `episodes` lists the available indices of each task in the order of execution. They are requested in rounds: every
    task takes part in every round, with two pairs if the policies have differed more often in it and one otherwise,
    because a task in which both always succeed carries no information. A batch consists of as many rounds as make
    `batch` episodes; stopping is decided after each batch, so the executed episodes do not depend on parallelism. An
    episode with an error is skipped for the next one of the task.

    The probability of ever calling a policy better that is not is at most alpha, for any true differences of the tasks:
    see `e_process`. The state depends on the outcomes only, so a comparison can be resumed from them.
    """

    def __init__(
        self, episodes: Mapping[str, Sequence[int]], *, alpha: float = 0.05, margin: float = 0.0, batch: int = BATCH
    ) -> None:
        if not episodes or not all(episodes.values()):
            raise ValueError("a task has no episodes. Expected at least one per task")
        if not 0.0 < alpha < 1.0 or not 0.0 <= margin < 1.0 or batch < 1:
            raise ValueError(
                f"alpha, margin and batch are {alpha}, {margin} and {batch}. Expected (0, 1), [0, 1) and 1 or more"
            )
        self._alpha, self._margin, self._batch = alpha, margin, batch
        self._tasks = {task: _Task(task, tuple(indices)) for task, indices in episodes.items()}
        self._evidence = DifferenceEvidence()
        self._open_batch()

    def update(self, pairs: Iterable[PairedOutcome]) -> Decision:
        """Add outcomes in any order and return the state of the comparison."""
        for pair in pairs:
            self._tasks[pair.task].outcomes.setdefault(pair.index, pair.difference)
        while not self._finished and not self.wanted():
            self._play()
            self._open_batch()
        return self.decision()

    def wanted(self) -> list[tuple[str, int]]:
        """Return the missing episodes (task, index) of the current batch by round; none when finished."""
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
        """Return the state of the comparison after the last complete batch."""
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
        """Add the outcomes of a complete batch; errors may have reduced the number of rounds."""
        rounds = min(self._rounds, *(task.left // task.asked for task in self._tasks.values()))
        counts = np.array([task.play(task.asked * rounds) for task in self._tasks.values()])
        asked = np.array([task.asked for task in self._tasks.values()])
        self._evidence.add(RoundCounts(counts[:, 0], counts[:, 1], counts[:, 2], asked))

    def _open_batch(self) -> None:
        """Set the number of pairs per task and of rounds of the next batch."""
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
    """Return the number of pairs per task of a round (last axis: tasks) and the number of rounds of the batch.

    Pairs follow the standard deviation of the difference of a pair (Neyman allocation), with one discordant pair added,
    so it is never zero.
    """
    spread = np.sqrt((np.asarray(discordant) + 1) / (np.asarray(pairs) + 2))
    wished = np.rint(spread / spread.min(axis=-1, keepdims=True)).clip(1, _MAX_PAIRS_PER_ROUND)
    asked = np.minimum(wished, np.maximum(left, 1)).astype(np.int64)
    possible = (np.asarray(left) // asked).min(axis=-1)
    return asked, np.minimum(possible, -(-batch // asked.sum(axis=-1)))


class _Task:
    """The episodes of one task in the order of their indices."""

    def __init__(self, name: str, indices: tuple[int, ...]) -> None:
        self.name = name
        self.outcomes: dict[int, int | None] = {}
        self.asked = 1  # pairs per round of the current batch
        self.pairs = self.wins = self.losses = 0  # used episodes
        self.log_peak = 0.0
        self._indices = indices
        self._next = 0  # position of the first unused episode

    @property
    def net(self) -> int:
        """Wins minus losses."""
        return self.wins - self.losses

    @property
    def left(self) -> int:
        """Number of remaining episodes."""
        return len(self._playable())

    def lacking(self, count: int) -> list[int]:
        """Return the next `count` episodes without an outcome."""
        return [index for index in self._playable()[:count] if index not in self.outcomes]

    def play(self, count: int) -> tuple[int, int, int]:
        """Use the next `count` pairs and return (wins, losses, pairs)."""
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
