"""The record of one episode, and the columns of the ledger."""

import math
from dataclasses import dataclass, fields
from typing import Literal

from vla_bench.core.episode import EpisodeIdentity

OUTCOMES = ("success", "failure", "error")


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """What happened in one episode; the first five fields are its identity.

    New fields go to the end: that is where a ledger of an older version gets them.
    """

    suite: str
    task: str
    variant: str = "clean"
    episode_index: int
    seed: int  # base seed of the run
    policy: str
    instruction: str
    scene_hash: str
    action_hash: str
    outcome: Literal["success", "failure", "error"]  # `error`: the harness broke, so neither of the others
    reward: float  # sum over the episode
    steps: int  # control steps
    progress: float  # share of the subgoals met, 0..1, the most there ever was
    phase: str  # the furthest phase reached
    wall_s: float
    policy_s: float  # of `wall_s`, spent waiting for the policy
    error: str = ""  # traceback, where outcome is "error"
    final_progress: float = 0.0  # at the end
    final_phase: str = ""  # at the end
    card_hash: str = ""  # of the policy, as in the run's description
    session: int = 0  # which of the run's sessions: says the machine, the versions and the commit
    attempts: int = 1  # in that session, with those that ended with their worker
    error_source: str = ""  # what broke, where outcome is "error": policy, environment or worker
    path_length_m: float = -1.0  # of the end-effector's way; this and the next three are -1 where not recorded
    drops: int = -1  # of a thing that a goal speaks of, where letting it go met no goal
    disturbed: int = -1  # things that no goal speaks of and that ended more than 5 cm from where they began
    peak_force_n: float = -1.0  # largest normal force at a contact of the gripper, seen once a control step
    subgoals: str = ""  # reached at the end, in the order of reaching, as JSON: [["on cube plate", step], ...]

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise ValueError(f"outcome is {self.outcome!r}; it must be one of {', '.join(OUTCOMES)}")
        if (self.outcome == "error") != bool(self.error):
            raise ValueError("an episode has an error text exactly when its outcome is 'error'")
        for name in ("reward", "progress", "final_progress", "wall_s", "policy_s", "path_length_m", "peak_force_n"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}; it must be finite")

    @property
    def identity(self) -> EpisodeIdentity:
        """The episode that this record is about."""
        return EpisodeIdentity(self.suite, self.task, self.episode_index, self.seed, self.variant)


COLUMNS: dict[str, type] = {
    field.name: field.type if isinstance(field.type, type) else str for field in fields(EpisodeRecord)
}
KEY = ("suite", "task", "variant", "episode_index", "seed")
