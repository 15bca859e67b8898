"""No motion at all: shows which tasks succeed, or fail, by themselves."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vla_bench.core.types import ACTION_DIM, FloatArray, Observation
from vla_bench.policies.cards import PolicyCard
from vla_bench.policies.policy import PolicyBase, PolicyRequirements
from vla_bench.policies.registry import policy_kind

_GRIPPER_OPEN = -1.0


class NoopPolicy(PolicyBase):
    """Stand still with the gripper open."""

    @property
    def requirements(self) -> PolicyRequirements:
        """Nothing."""
        return PolicyRequirements(batch_shape=None)

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return one motionless action a row, (B, 1, 7)."""
        actions = np.zeros((len(rows), 1, self._action_dim), dtype=np.float32)
        actions[..., ACTION_DIM - 1 :: ACTION_DIM] = _GRIPPER_OPEN
        return actions


@policy_kind("noop", PolicyCard)
def build_noop(card: PolicyCard, folder: Path) -> NoopPolicy:
    """Return the policy that stands still."""
    return NoopPolicy()
