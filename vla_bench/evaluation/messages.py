"""Messages between the rollout and the environment workers: commands, events and episode results, as plain data."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.types import FloatArray, Observation
from vla_bench.evaluation.rollout_statistics import RolloutStatistics

Outcome = Literal["success", "failure", "error"]
ErrorSource = Literal["", "policy", "environment", "worker"]


@dataclass(frozen=True)
class EpisodeResult:
    """How one episode ended, as its environment knows it."""

    outcome: Outcome
    error: str = ""  # traceback, where outcome is "error"
    error_source: ErrorSource = ""  # what broke, where outcome is "error"
    instruction: str = ""
    scene_hash: str = ""
    action_hash: str = ""  # of the actions executed, clipped to -1..1
    reward: float = 0.0  # sum over the episode
    steps: int = 0
    progress: float = 0.0  # the most there ever was
    phase: str = ""  # the furthest reached
    final_progress: float = 0.0  # at the end
    final_phase: str = ""  # at the end
    rollout_statistics: RolloutStatistics = field(default_factory=RolloutStatistics)
    subgoals: str = ""  # reached at the end, in the order of reaching, as JSON: [["on cube plate", step], ...]


@dataclass(frozen=True)
class Begin:
    """Begin an episode in a row; what the row did before is dropped."""

    row: int
    episode: EpisodeIdentity
    video: Path | None = None  # mp4 to record


@dataclass(frozen=True)
class Execute:
    """Execute actions (k, 7) one after the other, until the episode ends."""

    row: int
    actions: FloatArray


@dataclass(frozen=True)
class Abandon:
    """End the episode of a row as an error of the policy."""

    row: int
    error: str  # traceback


Command = Begin | Execute | Abandon


@dataclass(frozen=True)
class Ready:
    """The row waits for actions."""

    row: int
    observation: Observation


@dataclass(frozen=True)
class Finished:
    """The row's episode is over."""

    row: int
    result: EpisodeResult


@dataclass(frozen=True)
class Lost:
    """The row's worker died, and the row's episode with it."""

    row: int
    reason: str
    at_fault: bool  # the worker was busy with this row


Event = Ready | Finished | Lost
