"""Filters that drop demonstrations or steps, each with its reason."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.types import ACTION_DIM
from vla_bench.demos.demonstration import Demonstration, DemonstrationSummary

_MAD_TO_SIGMA = 0.6745  # MAD of a standard normal distribution
_MEAN_TO_SIGMA = 0.7979  # mean absolute deviation of a standard normal distribution
_MIN_DEMONSTRATIONS = 5  # of a task; with fewer, outliers cannot be determined
_PROTECTED_FINAL_STEPS = 10  # these steps are kept, because a goal must hold for some steps


class FilterOptionsError(VlaBenchError):
    """Filter options that are out of range."""


@dataclass(frozen=True)
class FilterOptions:
    """Demonstrations and steps to drop."""

    failures: Annotated[bool, Field(description="Drop demonstrations that did not succeed.")] = False
    noops: Annotated[
        float | None,
        Field(
            description="Drop steps whose action is at most this large (such as 1e-3) "
            "while the gripper command stays the same."
        ),
    ] = None
    length_score: Annotated[
        float | None,
        Field(
            description="Drop demonstrations whose length has a larger robust z-score within their task (usual: 3.5)."
        ),
    ] = None
    length_quantiles: Annotated[
        tuple[float, float] | None,
        Field(description="Drop demonstrations whose length is outside these quantiles of their task."),
    ] = None

    def __post_init__(self) -> None:
        if self.noops is not None and not 0 <= self.noops < 1:
            raise FilterOptionsError(
                f"The no-op size is {self.noops}; expected an action size from 0 to 1, such as 1e-3."
            )
        if self.length_score is not None and self.length_score <= 0:
            raise FilterOptionsError(
                f"The length score is {self.length_score}; expected a positive number, such as 3.5."
            )
        if self.length_quantiles is not None and not 0 <= self.length_quantiles[0] < self.length_quantiles[1] <= 1:
            shown = " ".join(map(str, self.length_quantiles))
            raise FilterOptionsError(
                f"The length quantiles are {shown}; expected two numbers from 0 to 1, the smaller one first."
            )

    def configuration(self) -> dict[str, Any]:
        """Return the options as JSON values."""
        quantiles = None if self.length_quantiles is None else list(self.length_quantiles)
        return {
            "failures": self.failures,
            "noops": self.noops,
            "length_score": self.length_score,
            "length_quantiles": quantiles,
        }

    def filters(self) -> "tuple[Filter, ...]":
        """Return the filters of whole demonstrations, in the order in which they are applied."""
        found: list[Filter] = []
        if self.failures:
            found.append(Failures())
        if self.length_score is not None:
            found.append(LengthScore(self.length_score))
        if self.length_quantiles is not None:
            found.append(LengthQuantiles(*self.length_quantiles))
        return tuple(found)


class Filter(Protocol):
    """A filter that drops whole demonstrations."""

    name: str

    def drop(self, summaries: Mapping[str, DemonstrationSummary]) -> dict[str, str]:
        """Return the demonstrations to drop, with the reason for each."""


@dataclass(frozen=True)
class FilterReport:
    """Demonstrations and steps that filters dropped."""

    before: int
    dropped: Mapping[str, tuple[str, str]]  # demonstration -> filter, reason
    dropped_steps: int = 0
    steps: int = 0  # of the remaining demonstrations, before steps were dropped

    @property
    def remaining(self) -> int:
        """Number of demonstrations that were not dropped."""
        return self.before - len(self.dropped)

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        by_filter = Counter(name for name, _ in self.dropped.values())
        found = [f"kept            {self.remaining} of {self.before} demonstrations"]
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
    """Apply filters one after the other; return each dropped demonstration -> (filter name, reason)."""
    dropped: dict[str, tuple[str, str]] = {}
    for one in filters:
        left = {name: summary for name, summary in summaries.items() if name not in dropped}
        dropped |= {name: (one.name, reason) for name, reason in one.drop(left).items()}
    return {name: dropped[name] for name in summaries if name in dropped}


class Failures:
    """Filter of demonstrations that did not succeed."""

    name = "failures"

    def drop(self, summaries: Mapping[str, DemonstrationSummary]) -> dict[str, str]:
        """Return the failures."""
        return {name: f"failed after {one.steps} steps" for name, one in summaries.items() if not one.success}


@dataclass(frozen=True)
class LengthScore:
    """Filter of demonstrations that are much longer or shorter than others of their task (modified z-score).

    Source: Iglewicz and Hoaglin, "How to detect and handle outliers", 1993: 0.6745 (x - median) / MAD, outliers beyond
    3.5. Where more than half are equal, so that the MAD is 0, the mean absolute deviation is used instead.
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
    """Filter of demonstrations whose length is outside two quantiles of their task."""

    low: float
    high: float
    name = "length quantile"

    def drop(self, summaries: Mapping[str, DemonstrationSummary]) -> dict[str, str]:
        """Return the demonstrations outside, of each task with at least five demonstrations."""
        dropped = {}
        for names, lengths in _lengths_by_task(summaries):
            low, high = np.quantile(lengths, [self.low, self.high])
            for name, length in zip(names, lengths, strict=True):
                if not low <= length <= high:
                    dropped[name] = f"{length} steps, outside {low:.0f} to {high:.0f}"
        return dropped


def without_noops(demonstration: Demonstration, size: float) -> Demonstration:
    """Return the demonstration without its no-op steps; the last few steps are kept.

    In a no-op step neither the desired nor the executed action moves the arm by more than `size`, and the gripper
    command equals that of the previous step. OpenVLA prepares LIBERO's demonstrations in this way.
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
    """Return the names and lengths of each task with enough demonstrations."""
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
