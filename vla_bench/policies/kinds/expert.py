"""The scripted expert as a policy: the ceiling of every leaderboard."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vla_bench.core.types import FloatArray, Observation
from vla_bench.policies.cards import PolicyCard
from vla_bench.policies.policy import PolicyBase, PolicyRequirements
from vla_bench.policies.registry import policy_kind


class ExpertPolicy(PolicyBase):
    """Pass on the action that the expert offers. The expert needs the simulator's state, so it acts there."""

    @property
    def requirements(self) -> PolicyRequirements:
        """The expert's offer and nothing else."""
        return PolicyRequirements(needs_expert=True, batch_shape=None)

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the expert's action of each row, (B, 1, 7)."""
        return np.stack([observation["expert_action"] for observation in observations])[:, None, :]


@policy_kind("expert", PolicyCard)
def build_expert(card: PolicyCard, folder: Path) -> ExpertPolicy:
    """Return the policy that passes on the expert's action."""
    return ExpertPolicy()
