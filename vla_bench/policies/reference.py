"""Reference policies: scripted experts (upper bound), random actions, and no motion (lower bounds)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vla_bench.core.types import ACTION_DIM, FloatArray, Observation
from vla_bench.policies.cards import PolicyCard, policy_kind
from vla_bench.policies.policy import PolicyBase, PolicyRequirements


class ExpertPolicy(PolicyBase):
    """Return the expert action in the observation. The expert runs in the worker because it needs the simulator
    state.
    """

    def __init__(self, expert: str) -> None:
        self._expert = expert

    @property
    def requirements(self) -> PolicyRequirements:
        """The expert action and nothing else."""
        return PolicyRequirements(expert=self._expert, batch_shape=None)

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the expert action of each slot, (B, 1, 7)."""
        return np.stack([observation["expert_action"] for observation in observations])[:, None, :]


@policy_kind("expert", PolicyCard)
def build_expert(card: PolicyCard, folder: Path) -> ExpertPolicy:
    """Return the policy of the scripted expert."""
    return ExpertPolicy("expert")


@policy_kind("blind-expert", PolicyCard)
def build_blind_expert(card: PolicyCard, folder: Path) -> ExpertPolicy:
    """Return the policy of the expert without access to the instruction."""
    return ExpertPolicy("blind-expert")


_GRIPPER_OPEN = -1.0


class NoopPolicy(PolicyBase):
    """A policy that stands still with the gripper open."""

    @property
    def requirements(self) -> PolicyRequirements:
        """Nothing."""
        return PolicyRequirements(batch_shape=None)

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return one action without motion per slot, (B, 1, 7)."""
        actions = np.zeros((len(rows), 1, self._action_dim), dtype=np.float32)
        actions[..., ACTION_DIM - 1 :: ACTION_DIM] = _GRIPPER_OPEN
        return actions


@policy_kind("noop", PolicyCard)
def build_noop(card: PolicyCard, folder: Path) -> NoopPolicy:
    """Return the policy that stands still."""
    return NoopPolicy()


class RandomPolicy(PolicyBase):
    """A policy with uniformly random actions in -1..1; the seed of an episode decides its actions."""

    def __init__(self) -> None:
        self._generators: dict[int, np.random.Generator] = {}  # by environment slot

    @property
    def requirements(self) -> PolicyRequirements:
        """Nothing."""
        return PolicyRequirements(batch_shape=None)

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Start new random sequences in these slots."""
        self._generators.update({row: np.random.default_rng(seed) for row, seed in zip(rows, seeds, strict=True)})

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return one random action per slot, (B, 1, 7)."""
        actions: FloatArray = np.stack(
            [self._generators[row].uniform(-1.0, 1.0, (1, self._action_dim)) for row in rows]
        )
        return actions.astype(np.float32)


@policy_kind("random", PolicyCard)
def build_random(card: PolicyCard, folder: Path) -> RandomPolicy:
    """Return the random policy."""
    return RandomPolicy()
