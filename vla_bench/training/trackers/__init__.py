"""Experiment trackers, and the log `metrics.jsonl` that every run writes.

A module in this package that registers a `Tracker` adds one.
"""

from vla_bench.training.trackers.tracker import CompositeTracker, TrackedRun, Tracker, trackers

__all__ = ["CompositeTracker", "TrackedRun", "Tracker", "trackers"]
