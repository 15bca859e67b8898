"""Operational-space control of the end-effector, with robosuite's OSC_POSE convention and gains.

Source: Khatib, "A unified approach for motion and force control of robot manipulators", 1987, as robosuite 1.5 has it:
position and orientation decoupled, kp 150, critically damped, goal relative to the pose achieved, null space held at
the starting posture.
"""

import mujoco
import numba
import numpy as np

from vla_bench.core.rotations import axis_angle_to_quat_wxyz, quat_wxyz_to_matrix
from vla_bench.core.types import MAX_DELTA_POSITION_M, MAX_DELTA_ROTATION_RAD, FloatArray

_KP = 150.0
_NULL_KP = 10.0


class OperationalSpaceController:
    """Turn (6,) end-effector deltas in [-1, 1] into joint torques, at every simulation step."""

    def __init__(
        self, model: mujoco.MjModel, site: int, joints: list[int], actuators: list[int], *, coupled: bool = False
    ) -> None:
        self._model, self._site, self._coupled = model, site, coupled
        self._qpos = model.jnt_qposadr[joints].copy()
        self._dof = model.jnt_dofadr[joints].copy()
        self._actuators = np.array(actuators)
        self._low, self._high = model.actuator_ctrlrange[actuators].T.copy()
        self._rest = np.zeros(len(joints))
        self._goal_position, self._goal_matrix = np.zeros(3), np.eye(3)
        self._jacobian_position, self._jacobian_rotation = np.zeros((3, model.nv)), np.zeros((3, model.nv))
        self._mass = np.zeros((model.nv, model.nv))

    def hold_posture(self, rest: FloatArray) -> None:
        """Set the joint positions that the null space is pulled to [rad]."""
        self._rest = np.array(rest, dtype=np.float64)

    def set_goal(self, data: mujoco.MjData, delta: FloatArray) -> None:
        """Set the goal `delta` away from the pose reached, in the world frame."""
        delta = np.clip(delta, -1.0, 1.0).astype(np.float64)
        turn = quat_wxyz_to_matrix(axis_angle_to_quat_wxyz(delta[3:6] * MAX_DELTA_ROTATION_RAD))
        self._goal_position = data.site_xpos[self._site] + delta[:3] * MAX_DELTA_POSITION_M
        self._goal_matrix = turn @ data.site_xmat[self._site].reshape(3, 3)

    def apply(self, data: mujoco.MjData) -> None:
        """Write the torques for the state in `data` into `data.ctrl`; positions and velocities must be computed."""
        mujoco.mj_jacSite(self._model, data, self._jacobian_position, self._jacobian_rotation, self._site)
        mujoco.mj_fullM(self._model, self._mass, data.qM)
        torque = _torque(
            self._jacobian_position,
            self._jacobian_rotation,
            self._mass,
            self._dof,
            data.qvel,
            data.qpos[self._qpos],
            data.qfrc_bias,
            self._goal_position - data.site_xpos[self._site],
            self._goal_matrix,
            data.site_xmat[self._site].reshape(3, 3),
            self._rest,
            self._coupled,
        )
        data.ctrl[self._actuators] = np.clip(torque, self._low, self._high)


@numba.njit(cache=True)  # runs at every 5 ms of physics
def _torque(  # type: ignore[no-untyped-def]  # arrays of float64 throughout
    jacobian_position,
    jacobian_rotation,
    mass,
    dof,
    velocity,
    joint_position,
    bias,
    position_error,
    goal_matrix,
    matrix,
    rest,
    coupled,
):
    n = dof.shape[0]
    jacobian = np.empty((6, n))
    arm_mass = np.empty((n, n))
    joint_velocity = np.empty(n)
    for i in range(n):
        joint_velocity[i] = velocity[dof[i]]
        for k in range(3):
            jacobian[k, i] = jacobian_position[k, dof[i]]
            jacobian[3 + k, i] = jacobian_rotation[k, dof[i]]
        for j in range(n):
            arm_mass[i, j] = mass[dof[i], dof[j]]
    rotation_error = np.zeros(3)
    for k in range(3):  # half the sum of the cross products of the axes, as in robosuite
        rotation_error += 0.5 * np.cross(np.ascontiguousarray(matrix[:, k]), np.ascontiguousarray(goal_matrix[:, k]))
    kd = 2.0 * np.sqrt(_KP)
    twist = jacobian @ joint_velocity
    force = _KP * position_error - kd * twist[:3]
    moment = _KP * rotation_error - kd * twist[3:]
    mass_inverse = np.linalg.inv(arm_mass)
    inverse = jacobian @ mass_inverse @ jacobian.T
    wrench = np.empty(6)
    if coupled:
        wrench[:] = np.linalg.pinv(inverse) @ np.concatenate((force, moment))
    else:
        wrench[:3] = np.linalg.pinv(np.ascontiguousarray(inverse[:3, :3])) @ force
        wrench[3:] = np.linalg.pinv(np.ascontiguousarray(inverse[3:, 3:])) @ moment
    null_projection = np.eye(n) - jacobian.T @ (np.linalg.pinv(inverse) @ (jacobian @ mass_inverse))
    posture = arm_mass @ (_NULL_KP * (rest - joint_position) - 2.0 * np.sqrt(_NULL_KP) * joint_velocity)
    torque = jacobian.T @ wrench + null_projection @ posture
    for i in range(n):
        torque[i] += bias[dof[i]]
    return torque
