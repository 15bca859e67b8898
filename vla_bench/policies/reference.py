"""Reference policies: scripted experts (upper bound), random actions, and no motion (lower bounds)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vla_bench.core.types import ACTION_DIM, FloatArray, Observation
from vla_bench.policies.cards import PolicyCard, policy_kind
from vla_bench.policies.policy import PolicyBase, PolicyRequirements

# ~ The scripted experts as policies: the ceiling of every leaderboard, and what is left of it without reading.


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


# ~ No motion at all: shows which tasks succeed, or fail, by themselves.

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


# ~ Uniformly random actions: the floor of every leaderboard.


class RandomPolicy(PolicyBase):
    """Draw each action from -1..1; an episode's seed alone decides its sequence of actions."""

    def __init__(self) -> None:
        self._generators: dict[int, np.random.Generator] = {}  # by row

    @property
    def requirements(self) -> PolicyRequirements:
        """Nothing."""
        return PolicyRequirements(batch_shape=None)

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Begin new sequences in these rows."""
        self._generators.update({row: np.random.default_rng(seed) for row, seed in zip(rows, seeds, strict=True)})

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return one random action a row, (B, 1, 7)."""
        actions: FloatArray = np.stack(
            [self._generators[row].uniform(-1.0, 1.0, (1, self._action_dim)) for row in rows]
        )
        return actions.astype(np.float32)


@policy_kind("random", PolicyCard)
def build_random(card: PolicyCard, folder: Path) -> RandomPolicy:
    """Return the random policy."""
    return RandomPolicy()
