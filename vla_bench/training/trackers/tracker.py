"""The experiment tracker protocol, its registry, and a tracker that forwards to several others."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vla_bench.core.registry import Registry


class Tracker(Protocol):
    """Destination of metrics."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log the named values of one step."""

    def close(self) -> None:
        """Flush and close."""


@dataclass(frozen=True)
class TrackedRun:
    """Description of a run, given to a tracker when it starts."""

    name: str
    project: str
    folder: Path  # for the files of the tracker
    config: Mapping[str, Any]  # plain data
    first_step: int  # 0, or the last step before a resumed run


trackers: Registry[Callable[[TrackedRun], Tracker]] = Registry("tracker", package="vla_bench.training.trackers")


class CompositeTracker:
    """Forwards to several trackers."""

    def __init__(self, members: Sequence[Tracker]) -> None:
        self._members = members

    @classmethod
    def start(cls, names: Iterable[str], run: TrackedRun) -> "CompositeTracker":
        """Start the named trackers. Raises `UnknownNameError`, or `MissingExtraError` if a package is not installed."""
        chosen = [trackers[name] for name in names]
        run.folder.mkdir(parents=True, exist_ok=True)
        return cls([start(run) for start in chosen])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log to all trackers."""
        for member in self._members:
            member.log(step, values)

    def close(self) -> None:
        """Close all trackers."""
        for member in self._members:
            member.close()
