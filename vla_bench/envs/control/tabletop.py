"""The controller of the tabletop engine: robosuite's OSC_POSE convention and gains."""

import mujoco
import numpy as np

from vla_bench.core.geometry import axis_angle_to_quat_wxyz, quat_wxyz_to_matrix
from vla_bench.core.types import MAX_DELTA_POSITION_M, MAX_DELTA_ROTATION_RAD, FloatArray
from vla_bench.envs.control.operational_space import Arm, Physics, apply_torques, arm_of, physics_of, simulate

_KP = np.full(6, 150.0)  # 1/s^2
_KD = 2.0 * np.sqrt(_KP)  # critically damped


class OperationalSpaceController:
    """Converts (6,) end-effector deltas in [-1, 1] into joint torques, at every physics step of one simulation."""

    def __init__(
        self, model: mujoco.MjModel, data: mujoco.MjData, site: int, joints: list[int], actuators: list[int]
    ) -> None:
        self._model, self._data = model, data  # compiled code holds their addresses only
        self._physics: Physics = physics_of(model, data)
        self.arm: Arm = arm_of(
            model,
            data,
            site=site,
            qpos_addresses=model.jnt_qposadr[joints].astype(np.int64),
            dof_addresses=model.jnt_dofadr[joints].astype(np.int64),
            actuators=np.array(actuators, dtype=np.int64),
            gains=(_KP, _KD),
            cholesky=False,
        )

    def hold_posture(self, rest: FloatArray) -> None:
        """Set the joint positions that the null space pulls to [rad]."""
        self.arm.rest[:] = rest

    def set_goal(self, delta: FloatArray) -> None:
        """Set the goal to the current pose moved by `delta`, in the world frame."""
        arm, delta = self.arm, np.clip(delta, -1.0, 1.0).astype(np.float64)
        rotation = quat_wxyz_to_matrix(axis_angle_to_quat_wxyz(delta[3:6] * MAX_DELTA_ROTATION_RAD))
        arm.goal_position[:] = arm.position + delta[:3] * MAX_DELTA_POSITION_M
        arm.goal_matrix[:] = rotation @ arm.matrix

    def apply(self) -> None:
        """Write the torques for the current state into `data.ctrl`; positions and velocities must be computed."""
        apply_torques(self._physics, (self.arm,))

    def advance(self, substeps: int) -> None:
        """Control and simulate; positions, velocities and contacts must be computed.

        Afterwards they are those before the last physics step, and so are the contact forces: `mj_step1` is due.
        """
        simulate(self._physics, (self.arm,), substeps)
