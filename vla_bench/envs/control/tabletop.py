"""The operational-space controller of the tabletop engine, with robosuite's OSC_POSE convention and gains.

Source: Khatib, "A unified approach for motion and force control of robot manipulators", 1987, as in robosuite 1.5:
position and orientation decoupled, kp 150, critically damped, goal relative to the pose achieved, null space held at
the start posture.
"""

from typing import Any, NamedTuple

import mujoco
import numba
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.geometry import axis_angle_to_quat_wxyz, quat_wxyz_to_matrix
from vla_bench.core.types import MAX_DELTA_POSITION_M, MAX_DELTA_ROTATION_RAD, FloatArray
from vla_bench.envs.control.native import call, functions

_KP = 150.0
_NULL_KP = 10.0


class OperationalSpaceController:
    """Turn (6,) end-effector deltas in [-1, 1] into joint torques, at every simulation step."""

    def __init__(self, model: mujoco.MjModel, site: int, joints: list[int], actuators: list[int]) -> None:
        self._model, self._site = model, site
        self._qpos = model.jnt_qposadr[joints].astype(np.int64)
        self._dof = model.jnt_dofadr[joints].astype(np.int64)
        self._actuators = np.array(actuators, dtype=np.int64)
        self._limits = model.actuator_ctrlrange[actuators].copy()
        self._rest = np.zeros(len(joints))
        self._goal_position, self._goal_matrix = np.zeros(3), np.eye(3)
        self._jacobian, self._mass = np.zeros((6, model.nv)), np.zeros((model.nv, model.nv))
        self._arm: _Arm | None = None

    def hold_posture(self, rest: FloatArray) -> None:
        """Set the joint positions that the null space is pulled to [rad]."""
        self._rest[:] = rest

    def set_goal(self, data: mujoco.MjData, delta: FloatArray) -> None:
        """Set the goal `delta` away from the pose reached, in the world frame."""
        delta = np.clip(delta, -1.0, 1.0).astype(np.float64)
        turn = quat_wxyz_to_matrix(axis_angle_to_quat_wxyz(delta[3:6] * MAX_DELTA_ROTATION_RAD))
        self._goal_position[:] = data.site_xpos[self._site] + delta[:3] * MAX_DELTA_POSITION_M
        self._goal_matrix[:] = turn @ data.site_xmat[self._site].reshape(3, 3)

    def apply(self, data: mujoco.MjData) -> None:
        """Write the torques for the state in `data` into `data.ctrl`; positions and velocities must be computed."""
        _apply(functions(), self._arm_in(data))

    def advance(self, data: mujoco.MjData, substeps: int) -> None:
        """Control and simulate; positions, velocities and contacts must be computed.

        Afterwards they are those before the last of the steps, and so are the forces at contacts: `mj_step1` is due.
        """
        _advance(functions(), self._arm_in(data), substeps)

    def _arm_in(self, data: mujoco.MjData) -> "_Arm":
        if self._arm is None or self._arm.data != data._address:
            self._arm = _Arm(
                self._model._address,
                data._address,
                data.qM.ctypes.data,
                self._site,
                self._qpos,
                self._dof,
                self._actuators,
                self._limits,
                self._rest,
                self._goal_position,
                self._goal_matrix,
                self._jacobian,
                self._mass,
                data.qpos,
                data.qvel,
                data.qfrc_bias,
                data.ctrl,
                data.site_xpos[self._site],
                data.site_xmat[self._site].reshape(3, 3),
            )
        return self._arm


class _Arm(NamedTuple):
    """What compiled code works with. From `qpos` on the arrays are MuJoCo's own memory."""

    model: int
    data: int
    inertia: int  # address of data.qM
    site: int
    qpos_addresses: NDArray[np.int64]
    dof_addresses: NDArray[np.int64]
    actuators: NDArray[np.int64]
    limits: FloatArray  # (joints, 2) [N m]
    rest: FloatArray  # (joints,) [rad]
    goal_position: FloatArray  # (3,)
    goal_matrix: FloatArray  # (3, 3)
    jacobian: FloatArray  # (6, nv), room to work in
    mass: FloatArray  # (nv, nv), room to work in
    qpos: FloatArray
    qvel: FloatArray
    bias: FloatArray
    ctrl: FloatArray
    position: FloatArray  # (3,) of the site
    matrix: FloatArray  # (3, 3) of the site


@numba.njit(cache=True)
def _advance(functions: Any, arm: Any, substeps: int) -> None:
    for substep in range(substeps):
        if substep > 0:
            call(functions.step1, (arm.model, arm.data))
        _apply(functions, arm)
        call(functions.step2, (arm.model, arm.data))


@numba.njit(cache=True)
def _apply(functions: Any, arm: Any) -> None:
    rotation = arm.jacobian[3:]
    addresses = (arm.model, arm.data, arm.jacobian.ctypes.data, rotation.ctypes.data, arm.site)
    call(functions.jacobian_of_site, addresses)
    call(functions.full_mass, (arm.model, arm.mass.ctypes.data, arm.inertia))
    torque = _torque(
        arm.jacobian[:3],
        rotation,
        arm.mass,
        arm.dof_addresses,
        arm.qvel,
        arm.qpos[arm.qpos_addresses],
        arm.bias,
        arm.goal_position - arm.position,
        arm.goal_matrix,
        arm.matrix,
        arm.rest,
    )
    for i in range(len(torque)):
        arm.ctrl[arm.actuators[i]] = min(max(torque[i], arm.limits[i, 0]), arm.limits[i, 1])


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
    response = np.linalg.solve(arm_mass, np.ascontiguousarray(jacobian.T))  # (n, 6)
    inverse = jacobian @ response
    wrench = np.empty(6)
    wrench[:3] = np.linalg.solve(np.ascontiguousarray(inverse[:3, :3]), force)
    wrench[3:] = np.linalg.solve(np.ascontiguousarray(inverse[3:, 3:]), moment)
    posture = arm_mass @ (_NULL_KP * (rest - joint_position) - 2.0 * np.sqrt(_NULL_KP) * joint_velocity)
    wrench -= np.linalg.solve(inverse, response.T @ posture)  # what the posture would do to the end-effector
    torque = jacobian.T @ wrench + posture
    for i in range(n):
        torque[i] += bias[dof[i]]
    return torque
