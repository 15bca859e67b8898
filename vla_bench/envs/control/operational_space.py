"""The compiled operational-space controller of both engines.

Source: Khatib, "A unified approach for motion and force control of robot manipulators", 1987, as in robosuite 1.5:
position and orientation are decoupled, and the null space pulls the joints to a rest posture.

The two engines differ in the last step, from the acceleration to the torques, in rounding only: `Arm.cholesky` chooses
between LAPACK's general solver (tabletop) and Cholesky factors (robosuite). Recorded episodes repeat only with the same
rounding, so that each engine keeps its own.
"""

from typing import Any, NamedTuple

import mujoco
import numba
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.types import FloatArray
from vla_bench.envs.control.native import Functions, call, functions

POSTURE_KP = 10.0  # 1/s^2, critically damped: the default of robosuite's `nullspace_torques`
_MIN_PIVOT = 1e-7  # of the diagonal; below it, Cholesky factors differ from robosuite's result by more than 1e-9


class Physics(NamedTuple):
    """A MuJoCo simulation as compiled code uses it: addresses, and arrays for intermediate results."""

    functions: Functions
    model: int  # address of the mjModel
    data: int  # address of the mjData
    inertia: int  # address of `data.qM`
    jacobian: FloatArray  # (6, nv), overwritten
    mass: FloatArray  # (nv, nv), overwritten


class Arm(NamedTuple):
    """A controlled arm. From `position` on, the arrays are views of MuJoCo's memory."""

    cholesky: bool  # solve by Cholesky factors, otherwise by LAPACK's general solver
    site: int  # the controlled point
    qpos_addresses: NDArray[np.int64]  # (joints,)
    dof_addresses: NDArray[np.int64]  # (joints,)
    actuators: NDArray[np.int64]  # (joints,)
    limits: FloatArray  # (joints, 2) [N m]
    kp: FloatArray  # (6,) position, then orientation [1/s^2]
    kd: FloatArray  # (6,) [1/s]
    rest: FloatArray  # (joints,) [rad]
    goal_position: FloatArray  # (3,) world frame [m]
    goal_matrix: FloatArray  # (3, 3) world frame
    position: FloatArray  # (3,) of the site
    matrix: FloatArray  # (3, 3) of the site
    qpos: FloatArray
    qvel: FloatArray
    bias: FloatArray
    ctrl: FloatArray


class ArmState(NamedTuple):
    """The terms of the equation of motion that belong to an arm's joints."""

    mass: FloatArray  # (n, n)
    jacobian: FloatArray  # (6, n) of the controlled point
    position: FloatArray  # (n,) [rad]
    velocity: FloatArray  # (n,) [rad/s]


def physics_of(model: mujoco.MjModel, data: mujoco.MjData) -> Physics:
    """Return a simulation for compiled code; valid as long as `model` and `data` exist."""
    jacobian, mass = np.zeros((6, model.nv)), np.zeros((model.nv, model.nv))
    return Physics(functions(), model._address, data._address, data.qM.ctypes.data, jacobian, mass)


def arm_of(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    *,
    site: int,
    qpos_addresses: NDArray[np.int64],
    dof_addresses: NDArray[np.int64],
    actuators: NDArray[np.int64],
    gains: tuple[FloatArray, FloatArray],
    cholesky: bool,
) -> Arm:
    """Return an arm whose goal and rest posture are still to be set; `gains` are kp and kd, (6,) each."""
    return Arm(
        cholesky=cholesky,
        site=site,
        qpos_addresses=qpos_addresses,
        dof_addresses=dof_addresses,
        actuators=actuators,
        limits=model.actuator_ctrlrange[actuators],
        kp=gains[0],
        kd=gains[1],
        rest=np.zeros(len(actuators)),
        goal_position=np.zeros(3),
        goal_matrix=np.eye(3),
        position=data.site_xpos[site],
        matrix=data.site_xmat[site].reshape(3, 3),
        qpos=data.qpos,
        qvel=data.qvel,
        bias=data.qfrc_bias,
        ctrl=data.ctrl,
    )


@numba.njit(cache=True)
def simulate(physics: Any, arms: Any, substeps: int) -> None:
    """Control `arms`, a tuple, through physics steps; `mj_step1` must have run before, and is due again afterwards."""
    for substep in range(substeps):
        if substep > 0:
            call(physics.functions.step1, (physics.model, physics.data))
        apply_torques(physics, arms)
        call(physics.functions.step2, (physics.model, physics.data))


@numba.njit(cache=True)
def apply_torques(physics: Any, arms: Any) -> None:
    """Write the torques of `arms`, a tuple, into `data.ctrl`; positions and velocities must be computed."""
    model, data, jacobian = physics.model, physics.data, physics.jacobian
    call(physics.functions.full_mass, (model, physics.mass.ctypes.data, physics.inertia))
    for arm in arms:
        site_jacobian = (model, data, jacobian.ctypes.data, jacobian[3:].ctypes.data, arm.site)
        call(physics.functions.jacobian_of_site, site_jacobian)
        state = _arm_state(physics, arm)
        missing = arm.goal_position - arm.position
        if arm.cholesky:
            acceleration = _acceleration(missing, arm, state)
            torques = cholesky_torques(state, acceleration, arm.rest)
        else:
            torques = _lapack_torques(state, missing, arm)
        bias, dofs, actuators, limits, ctrl = arm.bias, arm.dof_addresses, arm.actuators, arm.limits, arm.ctrl
        for i in range(len(torques)):
            ctrl[actuators[i]] = min(max(torques[i] + bias[dofs[i]], limits[i, 0]), limits[i, 1])


@numba.njit(cache=True)
def cholesky_torques(state, acceleration, rest):  # type: ignore[no-untyped-def]
    """Return the torques (n,) [N m], without those against gravity, by Cholesky factors.

    robosuite inverts the mass matrix at every physics step and takes pseudo-inverses, by singular values, of three
    inertias at the end-effector. All four matrices are symmetric and positive definite, so that Cholesky factors give
    the same torques up to rounding. Near a singular posture they would not: there, robosuite's formula is used.

    Args:
        state: the arm's `ArmState`.
        acceleration: of the end-effector, (6,) [m/s^2, rad/s^2].
        rest: joint positions that the null space pulls to, (n,) [rad].
    """
    mass_factor = state.mass.copy()
    if _factorize(mass_factor, 0):
        inverse = _inverse_inertia_at_site(mass_factor, state.jacobian)
        angular = inverse.copy()
        # The factor of the first three rows of all six is that of the linear part.
        if _factorize(inverse, 0) and _factorize(angular, 3):
            return _torques_from_factors(state, inverse, angular, acceleration, rest)
    return _torques_near_singularity(state, acceleration, rest)


@numba.njit(cache=True)
def _arm_state(physics, arm):  # type: ignore[no-untyped-def]
    """Copy an arm's part of the simulation's mass matrix, Jacobian, positions and velocities."""
    dofs, addresses = arm.dof_addresses, arm.qpos_addresses
    size, all_jacobian, all_mass = len(dofs), physics.jacobian, physics.mass
    mass, jacobian = np.empty((size, size)), np.empty((6, size))
    position, velocity = np.empty(size), np.empty(size)
    for i in range(size):  # indexing with an array is many times slower in compiled code
        position[i], velocity[i] = arm.qpos[addresses[i]], arm.qvel[dofs[i]]
        for k in range(6):
            jacobian[k, i] = all_jacobian[k, dofs[i]]
        for j in range(size):
            mass[i, j] = all_mass[dofs[i], dofs[j]]
    return ArmState(mass, jacobian, position, velocity)


@numba.njit(cache=True)
def _posture_acceleration(state, rest):  # type: ignore[no-untyped-def]
    """Return the accelerations of the joints towards the rest posture, (n,)."""
    kd = 2.0 * np.sqrt(POSTURE_KP)
    return POSTURE_KP * (rest - state.position) - kd * state.velocity


@numba.njit(cache=True)
def _lapack_torques(state, missing, arm):  # type: ignore[no-untyped-def]
    """Return the torques (n,), without those against gravity, by LAPACK; `missing` (3,) is the offset to the goal."""
    mass, jacobian, kp, kd = state.mass, state.jacobian, arm.kp, arm.kd
    rotation_error = np.zeros(3)
    for k in range(3):  # half the sum of the cross products of the axes: robosuite's `orientation_error`
        axis, goal = np.ascontiguousarray(arm.matrix[:, k]), np.ascontiguousarray(arm.goal_matrix[:, k])
        rotation_error += 0.5 * np.cross(axis, goal)
    twist = jacobian @ state.velocity
    force = kp[:3] * missing - kd[:3] * twist[:3]
    moment = kp[3:] * rotation_error - kd[3:] * twist[3:]
    response = np.linalg.solve(mass, np.ascontiguousarray(jacobian.T))  # (n, 6)
    inverse = jacobian @ response
    wrench = np.empty(6)
    wrench[:3] = np.linalg.solve(np.ascontiguousarray(inverse[:3, :3]), force)
    wrench[3:] = np.linalg.solve(np.ascontiguousarray(inverse[3:, 3:]), moment)
    posture = mass @ _posture_acceleration(state, arm.rest)
    wrench -= np.linalg.solve(inverse, response.T @ posture)  # the posture must not move the end-effector
    return jacobian.T @ wrench + posture


@numba.njit(cache=True)
def _acceleration(missing, arm, state):  # type: ignore[no-untyped-def]
    """Return the commanded acceleration of the end-effector (6,), where `missing` (3,) is the offset to the goal."""
    matrix, goal, kp, kd = arm.matrix, arm.goal_matrix, arm.kp, arm.kd
    jacobian, velocity = state.jacobian, state.velocity
    acceleration = np.zeros(6)
    acceleration[:3] = missing
    for k in range(3):  # half the sum of the cross products of the axes: robosuite's `orientation_error`
        after, last = (k + 1) % 3, (k + 2) % 3
        for axis in range(3):
            acceleration[3 + k] += 0.5 * matrix[after, axis] * goal[last, axis]
            acceleration[3 + k] -= 0.5 * matrix[last, axis] * goal[after, axis]
    for k in range(6):
        acceleration[k] *= kp[k]
        for i in range(len(velocity)):
            acceleration[k] -= kd[k] * jacobian[k, i] * velocity[i]
    return acceleration


@numba.njit(cache=True)
def _inverse_inertia_at_site(mass_factor, jacobian):  # type: ignore[no-untyped-def]
    """Return J M^-1 J^T, (6, 6), as products of the rows of the forward-substituted Jacobian."""
    half, inverse = jacobian.copy(), np.empty((6, 6))
    for i in range(6):
        _forward_substitute(mass_factor, half[i], 0, len(mass_factor))
        for j in range(i + 1):
            total = 0.0
            for k in range(len(mass_factor)):
                total += half[i, k] * half[j, k]
            inverse[i, j] = inverse[j, i] = total
    return inverse


@numba.njit(cache=True)
def _torques_from_factors(state, full, angular, acceleration, rest):  # type: ignore[no-untyped-def]
    mass, jacobian, size = state.mass, state.jacobian, len(rest)
    posture, posture_wrench = _posture_acceleration(state, rest), np.zeros(6)
    wrench, torques = acceleration.copy(), np.zeros(size)
    for i in range(size):  # the end-effector's acceleration due to the posture, which is to be compensated
        for row in range(6):
            posture_wrench[row] += jacobian[row, i] * posture[i]
    _solve(full, wrench, 0, 3)
    _solve(angular, wrench, 3, 6)
    _solve(full, posture_wrench, 0, 6)
    for i in range(size):
        for j in range(size):
            torques[i] += mass[i, j] * posture[j]
        for row in range(6):
            torques[i] += jacobian[row, i] * (wrench[row] - posture_wrench[row])
    return torques


@numba.njit(cache=True)
def _torques_near_singularity(state, acceleration, rest):  # type: ignore[no-untyped-def]
    """Return the torques by the operations of robosuite's `opspace_matrices` and `nullspace_torques`, bit for bit."""
    mass, jacobian = state.mass, state.jacobian
    linear_jacobian, angular_jacobian = jacobian[:3], jacobian[3:]
    mass_inverse = np.linalg.inv(mass)
    full = np.linalg.pinv(np.dot(np.dot(jacobian, mass_inverse), jacobian.transpose()))
    linear = np.linalg.pinv(np.dot(np.dot(linear_jacobian, mass_inverse), linear_jacobian.transpose()))
    angular = np.linalg.pinv(np.dot(np.dot(angular_jacobian, mass_inverse), angular_jacobian.transpose()))
    consistent_inverse = np.dot(mass_inverse, jacobian.transpose()).dot(full)
    null_space = np.eye(len(rest), len(rest)) - np.dot(consistent_inverse, jacobian)
    wrench = np.concatenate((np.dot(linear, acceleration[:3]), np.dot(angular, acceleration[3:])))
    posture = np.dot(mass, _posture_acceleration(state, rest))
    return np.dot(jacobian.T, wrench) + np.dot(null_space.transpose(), posture)


@numba.njit(cache=True)
def _factorize(matrix, first):  # type: ignore[no-untyped-def]
    """Replace the lower triangle of the rows from `first` on by its Cholesky factor; return whether it is accurate."""
    for column in range(first, len(matrix)):
        pivot = matrix[column, column]
        for k in range(first, column):
            pivot -= matrix[column, k] * matrix[column, k]
        if not pivot > _MIN_PIVOT * matrix[column, column]:
            return False
        matrix[column, column] = np.sqrt(pivot)
        for row in range(column + 1, len(matrix)):
            rest = matrix[row, column]
            for k in range(first, column):
                rest -= matrix[row, k] * matrix[column, k]
            matrix[row, column] = rest / matrix[column, column]
    return True


@numba.njit(cache=True)
def _forward_substitute(factor, vector, first, end):  # type: ignore[no-untyped-def]
    """Solve the lower triangular system of the rows from `first` to before `end`, in place."""
    for i in range(first, end):
        for k in range(first, i):
            vector[i] -= factor[i, k] * vector[k]
        vector[i] /= factor[i, i]


@numba.njit(cache=True)
def _solve(factor, vector, first, end):  # type: ignore[no-untyped-def]
    """Solve the system of the rows from `first` to before `end` of a factor by `_factorize`, in place."""
    _forward_substitute(factor, vector, first, end)
    for i in range(end - 1, first - 1, -1):
        for k in range(i + 1, end):
            vector[i] -= factor[k, i] * vector[k]
        vector[i] /= factor[i, i]
