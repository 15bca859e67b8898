"""Who is told how a training goes: one module each, and a log that is always written."""

from vla_bench.training.trackers.base import AllTrackers, TrackedRun, Tracker, trackers

__all__ = ["AllTrackers", "TrackedRun", "Tracker", "trackers"]
