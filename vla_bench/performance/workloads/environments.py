"""Environment workloads: a task or a part of its control step, whole episodes, and a sequence of tasks."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vla_bench.core.types import ACTION_DIM, FloatArray
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.envs.environment import make as make_environment
from vla_bench.tasks import get_task, task_ids

_MAX_ACTION = 0.3  # absolute limit of random actions, as for the peers
_EPISODE_STEPS = 200  # control steps per episode where only the engine is stepped


class FullStep:
    """Complete control steps under random actions, with the observation."""

    def __init__(self, env: VlaBenchEnv) -> None:
        self.env, self._seed = env, 0
        self._generator = np.random.default_rng(0)

    def step(self) -> bool:
        """Run one control step with its observation."""
        _, _, terminated, truncated, _ = self.env.step(self.action())
        return terminated or truncated

    def reset(self) -> None:
        """Begin the next episode, with its observation."""
        self._seed += 1
        self.env.reset(seed=self._seed)

    def action(self) -> FloatArray:
        """Return the next random action."""
        return self._generator.uniform(-_MAX_ACTION, _MAX_ACTION, self.env.action_dim).astype(np.float32)


class StepWithoutObservation(FullStep):
    """Control steps without the observation: physics, control, success, progress and info."""

    def step(self) -> bool:
        """Run one control step."""
        _, terminated, truncated, _ = self.env.advance(self.action())
        return terminated or truncated


class SimulationStep(FullStep):
    """Physics and control only, in episodes of a fixed length, because the engine does not end episodes."""

    _taken = 0

    def step(self) -> bool:
        """Run one control step of the engine."""
        self.env.simulation.step(self.action())
        self._taken += 1
        return self._taken % _EPISODE_STEPS == 0


class ObservationOnly(FullStep):
    """The observation only, of the state after the reset."""

    def step(self) -> bool:
        """Compute the observation."""
        self.env.observe()
        return False


class RenderOnly(FullStep):
    """The images only."""

    def step(self) -> bool:
        """Render every camera."""
        self.env.simulation.images()
        return False


_PARTS: Mapping[str, Callable[[VlaBenchEnv], FullStep]] = {
    "whole": FullStep,
    "advance": StepWithoutObservation,
    "simulate": SimulationStep,
    "observe": ObservationOnly,
    "render": RenderOnly,
}


def make_task(options: dict[str, Any]) -> FullStep:
    """Return the workload of a task or of the `part` of its control step.

    Options: `task_id`, `part`, and the keyword arguments of `vla_bench.make`.
    """
    options = dict(options)
    part = options.pop("part", "whole")
    options["cameras"] = tuple(options.get("cameras", ("agentview", "wrist")))
    return _PARTS[part](make_environment(**options))


_GRIPPER_OPEN = -1.0


class EpisodesWorkload:
    """Complete episodes without motion in several environments: the work of an evaluation worker without its scheduler.

    Each step advances the next environment; a reset is part of the step that ended its episode.
    """

    def __init__(self, rows: int, options: dict[str, Any]) -> None:
        self._envs = [make_environment(**options) for _ in range(rows)]
        self._action = np.zeros(self._envs[0].action_dim, dtype=np.float32)
        self._action[ACTION_DIM - 1 :: ACTION_DIM] = _GRIPPER_OPEN
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


def make_episodes(options: dict[str, Any]) -> EpisodesWorkload:
    """Return the workload of `rows` environments; the other options are the arguments of `vla_bench.make`."""
    options = dict(options)
    return EpisodesWorkload(options.pop("rows"), options)


_STEPS_PER_TASK = 20  # control steps of each task


class TaskSequence:
    """A workload whose step creates the next tabletop task, resets it with images, steps it and closes it."""

    def __init__(self) -> None:
        self._ids = [task_id for task_id in task_ids() if get_task(task_id).engine == "tabletop"]
        self._next = 0

    def step(self) -> bool:
        """Create, step and close the next task."""
        env = make_environment(self._ids[self._next % len(self._ids)])
        self._next += 1
        env.reset(seed=0)
        for _ in range(_STEPS_PER_TASK):
            env.step(np.zeros(env.action_dim, dtype=np.float32))
        env.close()
        return False

    def reset(self) -> None:
        """Do nothing: each step creates its own environment."""


def make_task_sequence(options: dict[str, Any]) -> TaskSequence:
    """Return the workload; it has no options."""
    return TaskSequence()
