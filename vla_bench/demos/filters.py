"""Filters that drop demonstrations or steps, each with its reason."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.types import ACTION_DIM
from vla_bench.demos.demonstration import Demonstration, DemonstrationSummary

_MAD_TO_SIGMA = 0.6745  # of the median absolute deviation of a normal distribution
_MEAN_TO_SIGMA = 0.7979  # of the mean absolute deviation
_MIN_DEMONSTRATIONS = 5  # demonstrations of a task, under which nothing can be said of outliers
_PROTECTED_FINAL_STEPS = (
    10  # steps that stay whatever they do: a goal must hold for some, and dropping them would undo it
)


class FilterOptionsError(VlaBenchError):
    """A filter that cannot be made as asked for."""


@dataclass(frozen=True)
class FilterOptions:
    """What to leave out."""

    failures: bool = False  # demonstrations that did not succeed
    noops: float | None = None  # steps whose action is at most this large while the gripper's command stays
    length_score: float | None = None  # demonstrations whose length has a larger robust z-score within their task
    length_quantiles: tuple[float, float] | None = None  # or lies outside these quantiles of their task

    def __post_init__(self) -> None:
        if self.noops is not None and not 0 <= self.noops < 1:
            raise FilterOptionsError(f"No-ops up to {self.noops}: expected an action size from 0 to 1, such as 1e-3.")
        if self.length_score is not None and self.length_score <= 0:
            raise FilterOptionsError(f"Length score {self.length_score}: expected a positive number, such as 3.5.")
        if self.length_quantiles is not None and not 0 <= self.length_quantiles[0] < self.length_quantiles[1] <= 1:
            shown = " ".join(map(str, self.length_quantiles))
            raise FilterOptionsError(f"Length quantiles {shown}: expected two of 0 to 1, the smaller first.")

    def configuration(self) -> dict[str, Any]:
        """Return, as JSON values, what is left out."""
        quantiles = None if self.length_quantiles is None else list(self.length_quantiles)
        return {
            "failures": self.failures,
            "noops": self.noops,
            "length_score": self.length_score,
            "length_quantiles": quantiles,
        }

    def filters(self) -> "tuple[Filter, ...]":
        """Return the filters of whole demonstrations, in the order in which they work."""
        found: list[Filter] = []
        if self.failures:
            found.append(Failures())
        if self.length_score is not None:
            found.append(LengthScore(self.length_score))
        if self.length_quantiles is not None:
            found.append(LengthQuantiles(*self.length_quantiles))
        return tuple(found)


class Filter(Protocol):
    """Drops whole demonstrations."""

    name: str

    def drop(self, summaries: Mapping[str, DemonstrationSummary]) -> dict[str, str]:
        """Return which demonstrations go, and why."""


@dataclass(frozen=True)
class FilterReport:
    """What filters left out."""

    before: int
    dropped: Mapping[str, tuple[str, str]]  # demonstration -> filter, reason
    dropped_steps: int = 0
    steps: int = 0  # of those that are kept, the dropped ones included

    @property
    def kept(self) -> int:
        """Demonstrations left."""
        return self.before - len(self.dropped)

    def lines(self) -> list[str]:
        """Return the report as text, a line each."""
        by_filter = Counter(name for name, _ in self.dropped.values())
        found = [f"kept            {self.kept} of {self.before} demonstrations"]
        for name, count in by_filter.items():
            reasons = [f"{demo}: {reason}" for demo, (by, reason) in self.dropped.items() if by == name]
            found.append(f"{name:<15} {count} dropped")
            found.extend(f"                {reason}" for reason in reasons)
        if self.dropped_steps:
            found.append(f"no-ops          {self.dropped_steps:,} of {self.steps:,} steps dropped")
        return found


def apply_filters(
    summaries: Mapping[str, DemonstrationSummary], filters: Sequence[Filter]
) -> dict[str, tuple[str, str]]:
    """Return which demonstrations filters drop, one after the other, with the filter's name and its reason."""
    dropped: dict[str, tuple[str, str]] = {}
    for one in filters:
        left = {name: summary for name, summary in summaries.items() if name not in dropped}
        dropped |= {name: (one.name, reason) for name, reason in one.drop(left).items()}
    return {name: dropped[name] for name in summaries if name in dropped}


class Failures:
    """Drops what did not succeed."""

    name = "failures"

    def drop(self, summaries: Mapping[str, DemonstrationSummary]) -> dict[str, str]:
        """Return the failures."""
        return {name: f"failed after {one.steps} steps" for name, one in summaries.items() if not one.success}


@dataclass(frozen=True)
class LengthScore:
    """Drops what is much longer or shorter than the rest of its task, by the modified z-score.

    Source: Iglewicz and Hoaglin, "How to detect and handle outliers", 1993: 0.6745 (x - median) / MAD, outliers beyond
    3.5; where more than half are equal, so that the MAD is 0, the mean absolute deviation stands in.
    """

    limit: float
    name = "length score"

    def drop(self, summaries: Mapping[str, DemonstrationSummary]) -> dict[str, str]:
        """Return the outliers of each task with at least five demonstrations."""
        dropped = {}
        for names, lengths in _lengths_by_task(summaries):
            middle = float(np.median(lengths))
            scores = _robust_scores(lengths)
            for name, length, score in zip(names, lengths, scores, strict=True):
                if abs(score) > self.limit:
                    dropped[name] = f"{length} steps, score {score:+.1f} (median of its task {middle:.0f})"
        return dropped


@dataclass(frozen=True)
class LengthQuantiles:
    """Drops what lies outside two quantiles of the lengths of its task."""

    low: float
    high: float
    name = "length quantile"

    def drop(self, summaries: Mapping[str, DemonstrationSummary]) -> dict[str, str]:
        """Return what lies outside, of each task with at least five demonstrations."""
        dropped = {}
        for names, lengths in _lengths_by_task(summaries):
            low, high = np.quantile(lengths, [self.low, self.high])
            for name, length in zip(names, lengths, strict=True):
                if not low <= length <= high:
                    dropped[name] = f"{length} steps, outside {low:.0f} to {high:.0f}"
        return dropped


def without_noops(demonstration: Demonstration, size: float) -> Demonstration:
    """Return the demonstration without its steps that do nothing, the last few excepted.

    A step does nothing where neither the action that was wanted nor the one executed moves the arm by more than
    `size`, and the gripper's command is that of the step before. As OpenVLA prepares LIBERO's demonstrations.
    """
    idle = _is_noop(demonstration.actions, size) & _is_noop(demonstration.executed_actions, size)
    idle[-_PROTECTED_FINAL_STEPS:] = False
    return demonstration if not idle.any() else demonstration.select_steps(np.flatnonzero(~idle))


def _is_noop(actions: NDArray[np.float32], size: float) -> NDArray[np.bool_]:
    arms = actions.reshape(len(actions), -1, ACTION_DIM)  # (T, arms, 7)
    still = (np.linalg.norm(arms[:, :, :-1], axis=2) <= size).all(axis=1)
    gripper = np.sign(arms[:, :, -1])
    same = np.append(False, (gripper[1:] == gripper[:-1]).all(axis=1))
    idle: NDArray[np.bool_] = still & same
    return idle


def _lengths_by_task(
    summaries: Mapping[str, DemonstrationSummary],
) -> list[tuple[list[str], NDArray[np.int64]]]:
    """Return names and lengths, task by task, of those with enough demonstrations."""
    names = defaultdict(list)
    for name, summary in summaries.items():
        names[summary.identity.task_id].append(name)
    return [
        (members, np.array([summaries[name].steps for name in members]))
        for members in names.values()
        if len(members) >= _MIN_DEMONSTRATIONS
    ]


def _robust_scores(lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    offset = lengths - np.median(lengths)
    spread = float(np.median(np.abs(offset))) / _MAD_TO_SIGMA or float(np.abs(offset).mean()) / _MEAN_TO_SIGMA
    scores: NDArray[np.float64] = offset / spread if spread else np.zeros(len(lengths))
    return scores
