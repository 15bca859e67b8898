"""How far a collection is, and what it ended with."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CollectProgress:
    """How far a collection is."""

    wanted: int  # demonstrations in all
    finished: int  # of them there, those of earlier runs included
    resumed: int  # there before this run began
    attempts: int  # made in this run
    successes: int  # among them
    per_minute: float  # demonstrations, over the last of them
    elapsed_s: float
    task: str = ""  # of the last attempt
    deaths: tuple[str, ...] = ()  # workers that died, and what of; their episodes are made again

    @property
    def success_rate(self) -> float:
        """Share of this run's attempts that succeeded."""
        return self.successes / self.attempts if self.attempts else 0.0

    @property
    def remaining_s(self) -> float | None:
        """Estimate of the time to go [s]; None while there is nothing to estimate from."""
        return 60.0 * (self.wanted - self.finished) / self.per_minute if self.per_minute else None


@dataclass(frozen=True)
class TaskReport:
    """What was collected of one task."""

    task: str  # `suite.task`
    demonstrations: int  # recorded, before any filter
    successes: int  # among them
    attempts: int


@dataclass(frozen=True)
class Dropped:
    """A demonstration that a filter left out."""

    task: str  # `suite.task`
    index: int
    by: str  # name of the filter
    reason: str


@dataclass(frozen=True)
class CollectReport:
    """What a collection ended with."""

    output: Path
    tasks: tuple[TaskReport, ...]
    resumed: int
    elapsed_s: float
    size_bytes: int
    deaths: tuple[str, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    dropped_steps: int = 0  # without effect, of the demonstrations in the file

    @property
    def demonstrations(self) -> int:
        """Demonstrations of all tasks, before any filter."""
        return sum(task.demonstrations for task in self.tasks)

    @property
    def per_minute(self) -> float:
        """Demonstrations a minute, those of earlier runs not counted."""
        return 60.0 * (self.demonstrations - self.resumed) / self.elapsed_s if self.elapsed_s > 0 else 0.0
