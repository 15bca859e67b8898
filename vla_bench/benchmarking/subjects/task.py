"""A task of ours under random actions, or a part of its control step.

Options: `task_id`, `part`, and the keyword arguments of `vla_bench.make`. The generator is that of the peers.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vla_bench.core.types import FloatArray
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.envs.environment import make as make_environment

_MOST = 0.3  # of every number of a random action
_EPISODE_STEPS = 200  # where only the engine is stepped


class Whole:
    """Whole control steps, with the observation."""

    def __init__(self, env: VlaBenchEnv) -> None:
        self.env, self._seed = env, 0
        self._generator = np.random.default_rng(0)

    def step(self) -> bool:
        """Take one control step and look."""
        _, _, terminated, truncated, _ = self.env.step(self.action())
        return terminated or truncated

    def reset(self) -> None:
        """Begin the next episode; this looks, too."""
        self._seed += 1
        self.env.reset(seed=self._seed)

    def action(self) -> FloatArray:
        """Return the next random action."""
        return self._generator.uniform(-_MOST, _MOST, self.env.action_dim).astype(np.float32)


class Advance(Whole):
    """Control steps without the observation: physics, control, success, progress, info."""

    def step(self) -> bool:
        """Take one control step."""
        _, terminated, truncated, _ = self.env.advance(self.action())
        return terminated or truncated


class Simulate(Whole):
    """Physics and control alone, in episodes of a fixed length: the engine knows no end."""

    _taken = 0

    def step(self) -> bool:
        """Take one control step of the engine."""
        self.env.simulation.step(self.action())
        self._taken += 1
        return self._taken % _EPISODE_STEPS == 0


class Observe(Whole):
    """The observation alone, of the state after the reset."""

    def step(self) -> bool:
        """Look."""
        self.env.observe()
        return False


class Draw(Whole):
    """The images alone."""

    def step(self) -> bool:
        """Render every camera."""
        self.env.simulation.images()
        return False


_PARTS: Mapping[str, Callable[[VlaBenchEnv], Whole]] = {
    "whole": Whole,
    "advance": Advance,
    "simulate": Simulate,
    "observe": Observe,
    "draw": Draw,
}


def make(options: dict[str, Any]) -> Whole:
    """Return the task, or the `part` of it, at work."""
    options = dict(options)
    part = options.pop("part", "whole")
    options["cameras"] = tuple(options.get("cameras", ("agentview", "wrist")))
    return _PARTS[part](make_environment(**options))
