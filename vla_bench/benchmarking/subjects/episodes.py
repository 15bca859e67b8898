"""Whole episodes in which nobody moves, resets included, in several environments in turn: a worker without a scheduler.

Options: `rows`, and the keyword arguments of `vla_bench.make`.
"""

from typing import Any

import numpy as np

from vla_bench.core.types import ACTION_DIM
from vla_bench.envs.environment import make as make_environment

_OPEN = -1.0  # gripper


class Episodes:
    """One step of one environment after the other; a reset is a part of the step that ended the episode."""

    def __init__(self, rows: int, options: dict[str, Any]) -> None:
        self._envs = [make_environment(**options) for _ in range(rows)]
        self._action = np.zeros(self._envs[0].action_dim, dtype=np.float32)
        self._action[ACTION_DIM - 1 :: ACTION_DIM] = _OPEN
        self._next, self._seed = 0, 0

    def step(self) -> bool:
        """Step the next environment."""
        env = self._envs[self._next]
        self._next = (self._next + 1) % len(self._envs)
        _, _, terminated, truncated, _ = env.step(self._action)
        if terminated or truncated:
            self._begin(env)
        return False

    def reset(self) -> None:
        """Begin all episodes."""
        for env in self._envs:
            self._begin(env)

    def _begin(self, env: Any) -> None:
        self._seed += 1
        env.reset(seed=self._seed)


def make(options: dict[str, Any]) -> Episodes:
    """Return `rows` environments at work."""
    options = dict(options)
    return Episodes(options.pop("rows"), options)
