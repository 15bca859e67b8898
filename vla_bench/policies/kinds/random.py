"""Uniformly random actions: the floor of every leaderboard."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vla_bench.core.types import FloatArray, Observation
from vla_bench.policies.cards import PolicyCard
from vla_bench.policies.policy import PolicyBase, PolicyRequirements
from vla_bench.policies.registry import policy_kind


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
