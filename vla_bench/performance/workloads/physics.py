"""Physics workload: `mj_step` alone, through the states and torques of a recorded episode."""

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.types import CONTROL_HZ
from vla_bench.envs.environment import make as make_environment

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_RECORDED_STEPS = 200  # control steps
_MAX_ACTION = 0.3  # absolute limit of random actions


class PhysicsWorkload:
    """The physics steps of one control step in one MuJoCo call, with the last torques of the controller.

    The time includes restoring the recorded state, which takes a few microseconds.
    """

    def __init__(self, task_id: str) -> None:
        env = make_environment(task_id, cameras=())
        self._model: mujoco.MjModel = env.simulation.models()[0]
        live: mujoco.MjData = env.simulation.data  # type: ignore[attr-defined]  # both engines have it
        self._data = mujoco.MjData(self._model)
        self._substeps = round(1.0 / CONTROL_HZ / self._model.opt.timestep)
        self._states: list[NDArray[np.float64]] = []
        self._torques: list[NDArray[np.float64]] = []
        generator = np.random.default_rng(0)
        env.reset(seed=1)
        for _ in range(_RECORDED_STEPS):
            state = np.empty(mujoco.mj_stateSize(self._model, _STATE))
            mujoco.mj_getState(self._model, live, state, _STATE)
            self._states.append(state)
            action = generator.uniform(-_MAX_ACTION, _MAX_ACTION, env.action_dim)
            _, terminated, truncated, _ = env.advance(action)
            self._torques.append(live.ctrl.copy())
            if terminated or truncated:
                break
        self._next = 0

    def step(self) -> bool:
        """Simulate the next recorded control step."""
        mujoco.mj_setState(self._model, self._data, self._states[self._next], _STATE)
        self._data.ctrl[:] = self._torques[self._next]
        mujoco.mj_step(self._model, self._data, self._substeps)
        self._next = (self._next + 1) % len(self._states)
        return False

    def reset(self) -> None:
        """Return to the first recorded step."""
        self._next = 0


def make_physics(options: dict[str, Any]) -> PhysicsWorkload:
    """Return the workload of `mj_step` on the model of the option `task_id`."""
    return PhysicsWorkload(options["task_id"])
