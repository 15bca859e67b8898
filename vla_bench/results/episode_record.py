"""The record of one episode, and the columns of the ledger that follow from it."""

import math
from dataclasses import MISSING, dataclass, fields
from typing import Literal

from vla_bench.core.episode import EpisodeIdentity

OUTCOMES = ("success", "failure", "error")


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """Result of one episode; the first five fields are its identity.

    A new ledger column is one new field at the end, with the default value that older ledgers get. Table, digest, data
    frames and CSV files follow from the fields.
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
    outcome: Literal["success", "failure", "error"]  # `error`: the harness failed, so neither success nor failure
    reward: float  # sum over the episode
    steps: int  # control steps
    progress: float  # largest fraction of the subgoals met during the episode, 0..1
    phase: str  # furthest phase reached
    wall_s: float
    policy_s: float  # part of `wall_s` spent waiting for the policy
    error: str = ""  # traceback, if the outcome is "error"
    final_progress: float = 0.0  # at the end
    final_phase: str = ""  # at the end
    card_hash: str = ""  # of the policy, as in the run description
    session: int = 0  # index of the session of the run, which records machine, versions and commit
    attempts: int = 1  # in that session, including those that ended with their worker
    error_source: str = ""  # policy, environment or worker, if the outcome is "error"
    path_length_m: float = -1.0  # of the end-effector path; this and the next three are -1 if not recorded
    drops: int = -1  # releases of a goal object that met no goal
    disturbed: int = -1  # objects outside all goals that ended more than 5 cm from their start position
    peak_force_n: float = -1.0  # largest normal force at a contact of the gripper, sampled once per control step
    subgoals: str = ""  # met at the end, in the order reached, as JSON: [["on cube plate", step], ...]

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise ValueError(f"outcome is {self.outcome!r}. Expected one of {', '.join(OUTCOMES)}.")
        if (self.outcome == "error") != bool(self.error):
            raise ValueError("An episode must have an error text if its outcome is 'error', and only then.")
        for name, kind in COLUMNS.items():
            if kind is float and not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}. Expected a finite number.")

    @property
    def identity(self) -> EpisodeIdentity:
        """The episode that this record describes."""
        return EpisodeIdentity(self.suite, self.task, self.episode_index, self.seed, self.variant)


COLUMNS: dict[str, type] = {
    field.name: field.type if isinstance(field.type, type) else str for field in fields(EpisodeRecord)
}
DEFAULTS: dict[str, str | int | float] = {
    field.name: field.default for field in fields(EpisodeRecord) if field.default is not MISSING
}
KEY = ("suite", "task", "variant", "episode_index", "seed")
