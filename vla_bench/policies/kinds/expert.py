"""The scripted experts as policies: the ceiling of every leaderboard, and what is left of it without reading."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vla_bench.core.types import FloatArray, Observation
from vla_bench.policies.cards import PolicyCard
from vla_bench.policies.policy import PolicyBase, PolicyRequirements
from vla_bench.policies.registry import policy_kind


class ExpertPolicy(PolicyBase):
    """Pass on the action that an expert offers. It needs the simulator's state, so it acts there."""

    def __init__(self, expert: str) -> None:
        self._expert = expert

    @property
    def requirements(self) -> PolicyRequirements:
        """The expert's offer and nothing else."""
        return PolicyRequirements(expert=self._expert, batch_shape=None)

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the expert's action of each row, (B, 1, 7)."""
        return np.stack([observation["expert_action"] for observation in observations])[:, None, :]


@policy_kind("expert", PolicyCard)
def build_expert(card: PolicyCard, folder: Path) -> ExpertPolicy:
    """Return the policy that passes on the expert's action."""
    return ExpertPolicy("expert")


@policy_kind("blind-expert", PolicyCard)
def build_blind_expert(card: PolicyCard, folder: Path) -> ExpertPolicy:
    """Return the policy that passes on the action of an expert which does not know the instruction."""
    return ExpertPolicy("blind-expert")
