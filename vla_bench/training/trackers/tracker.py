"""The experiment tracker protocol, its registry, and a tracker that forwards to several others."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vla_bench.core.registry import Registry


class Tracker(Protocol):
    """Takes numbers by name, step by step."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers of one step."""

    def close(self) -> None:
        """Write what is left."""


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run when it starts."""

    name: str
    project: str
    folder: Path  # for its files
    config: Mapping[str, Any]  # plain data
    first_step: int  # 0, or the step that a resumed run goes on from


trackers: Registry[Callable[[TrackedRun], Tracker]] = Registry("tracker", package="vla_bench.training.trackers")


class CompositeTracker:
    """Tells several."""

    def __init__(self, members: Sequence[Tracker]) -> None:
        self._members = members

    @classmethod
    def started(cls, names: Iterable[str], run: TrackedRun) -> "CompositeTracker":
        """Start trackers by name. Raises `UnknownNameError`, or `MissingExtraError` where a package is missing."""
        chosen = [trackers[name] for name in names]
        run.folder.mkdir(parents=True, exist_ok=True)
        return cls([start(run) for start in chosen])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Tell all."""
        for member in self._members:
            member.log(step, values)

    def close(self) -> None:
        """Close all."""
        for member in self._members:
            member.close()
