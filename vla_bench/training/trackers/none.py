"""The tracker of those who want none."""

from collections.abc import Mapping

from vla_bench.training.trackers.base import TrackedRun, trackers


@trackers.named("none")
class NoTracker:
    """Forgets everything."""

    def __init__(self, run: TrackedRun) -> None:
        pass

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take numbers and do nothing."""

    def close(self) -> None:
        """Do nothing."""
