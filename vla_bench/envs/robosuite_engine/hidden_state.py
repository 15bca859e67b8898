"""What robosuite keeps beside MuJoCo's own state: in the compiled model, and what Wipe's reward remembers."""

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

_RIGHT = "right"  # what robosuite calls the arm of a robot that has one


class HiddenState:
    """Poses of the fixtures that a reset moves; of Wipe, which markers are wiped away, and forces for its reward."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._model: mujoco.MjModel = env.sim.model._model
        self._markers: list[Any] = list(getattr(env.model.mujoco_arena, "markers", ()))
        fixtures = [thing.root_body for thing in env.model.mujoco_objects if not _moves_freely(self._model, thing)]
        self._turning = [self._model.body(body).id for body in fixtures]  # the markers are only moved
        self._moving = self._turning + [self._model.body(marker.root_body).id for marker in self._markers]
        self._marker_geoms = [self._model.geom(marker.visual_geoms[0]).id for marker in self._markers]

    @property
    def remembers_forces(self) -> bool:
        """Whether the reward asks what the tool has felt: only Wipe's does."""
        return bool(self._markers)

    def read(self) -> NDArray[np.float64]:
        """Return positions (N, 3), quaternions (M, 4), 1 for each marker that is wiped, and forces, all in one row."""
        wiped = [float(marker in self._env.wiped_markers) for marker in self._markers]
        moved, turned = self._model.body_pos[self._moving], self._model.body_quat[self._turning]
        return np.concatenate([moved.ravel(), turned.ravel(), wiped, *(self._forces() if self._markers else ())])

    def write(self, state: NDArray[np.float64]) -> None:
        """Restore what `read` returned."""
        ends = np.cumsum([3 * len(self._moving), 4 * len(self._turning), len(self._markers)])
        moved, turned, wiped, forces = np.split(state, ends)
        self._model.body_pos[self._moving] = moved.reshape(-1, 3)
        self._model.body_quat[self._turning] = turned.reshape(-1, 4)
        if self._markers:
            self._env.wiped_markers = [marker for marker, gone in zip(self._markers, wiped, strict=True) if gone]
            self._model.geom_rgba[self._marker_geoms, 3] = 1.0 - wiped
            self._feel(forces)

    def _forces(self) -> tuple[NDArray[np.float64], ...]:
        """Return what the tool felt when the step began (6) and at first (3 and 3), and what all sensors say now."""
        env, robot = self._env, self._env.robots[0]
        felt = robot.recent_ee_forcetorques[_RIGHT].current
        return felt, env.ee_force_bias[_RIGHT], env.ee_torque_bias[_RIGHT], env.sim.data._data.sensordata

    def _feel(self, forces: NDArray[np.float64]) -> None:
        env, robot = self._env, self._env.robots[0]
        felt, force, torque, sensors = np.split(forces, (6, 9, 12))
        robot.recent_ee_forcetorques[_RIGHT].push(felt)
        env.ee_force_bias, env.ee_torque_bias = {_RIGHT: force}, {_RIGHT: torque}
        env.sim.data._data.sensordata[:] = sensors


def _moves_freely(model: mujoco.MjModel, thing: Any) -> bool:
    joint = model.body_jntadr[model.body(thing.root_body).id]
    return bool(joint >= 0 and model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE)
