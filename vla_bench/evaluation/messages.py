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
    """The result of one episode, as far as its environment knows it."""

    outcome: Outcome
    error: str = ""  # traceback, if outcome is "error"
    error_source: ErrorSource = ""  # what failed, if outcome is "error"
    instruction: str = ""
    scene_hash: str = ""
    action_hash: str = ""  # of the executed actions, clipped to -1..1
    reward: float = 0.0  # sum over the episode
    steps: int = 0
    progress: float = 0.0  # largest value during the episode
    phase: str = ""  # furthest phase reached
    final_progress: float = 0.0  # at the end
    final_phase: str = ""  # at the end
    rollout_statistics: RolloutStatistics = field(default_factory=RolloutStatistics)
    subgoals: str = ""  # met at the end, in the order reached, as JSON: [["on cube plate", step], ...]


@dataclass(frozen=True)
class Begin:
    """Begin an episode in a slot; the episode that ran there before is dropped."""

    slot: int
    episode: EpisodeIdentity
    video: Path | None = None  # mp4 to record


@dataclass(frozen=True)
class Execute:
    """Execute actions (k, 7) one after another, until the episode ends."""

    slot: int
    actions: FloatArray


@dataclass(frozen=True)
class Abandon:
    """End the episode of a slot as an error of the policy."""

    slot: int
    error: str  # traceback


Command = Begin | Execute | Abandon


@dataclass(frozen=True)
class Ready:
    """The slot waits for actions."""

    slot: int
    observation: Observation


@dataclass(frozen=True)
class Finished:
    """The episode of the slot has ended."""

    slot: int
    result: EpisodeResult


@dataclass(frozen=True)
class Lost:
    """The worker of the slot died, and the episode of the slot with it."""

    slot: int
    reason: str
    at_fault: bool  # the worker was executing the command of this slot


Event = Ready | Finished | Lost
