"""The operational-space controller as Warp kernels, one thread per world.

The file is loaded by path in the peer's Python (`peers/mujoco_warp.py`), where only Warp is available; the kernels
are therefore created by a function that receives the Warp module. The formulas are those of the controller of the
tabletop engine, in single precision as in MuJoCo Warp.
"""

from types import SimpleNamespace
from typing import Any

# mypy: ignore-errors


def kernels(wp: Any) -> SimpleNamespace:
    """Return the kernels `read_site`, `set_goal` and `control`."""
    _mat77 = wp.types.matrix(shape=(7, 7), dtype=float)
    _mat66 = wp.types.matrix(shape=(6, 6), dtype=float)
    _mat67 = wp.types.matrix(shape=(6, 7), dtype=float)
    _vec7 = wp.types.vector(length=7, dtype=float)
    _vec6 = wp.types.vector(length=6, dtype=float)

    @wp.func
    def _factor7(a: _mat77):
        for j in range(7):
            for k in range(j):
                for i in range(j, 7):
                    a[i, j] = a[i, j] - a[i, k] * a[j, k]
            root = wp.sqrt(a[j, j])
            for i in range(j, 7):
                a[i, j] = a[i, j] / root
        return a

    @wp.func
    def _solved7(factor: _mat77, b: _vec7):
        for i in range(7):
            for k in range(i):
                b[i] = b[i] - factor[i, k] * b[k]
            b[i] = b[i] / factor[i, i]
        for r in range(7):
            i = 6 - r
            for k in range(i + 1, 7):
                b[i] = b[i] - factor[k, i] * b[k]
            b[i] = b[i] / factor[i, i]
        return b

    @wp.func
    def _solved6(a: _mat66, b: _vec6):
        for j in range(6):
            for k in range(j):
                for i in range(j, 6):
                    a[i, j] = a[i, j] - a[i, k] * a[j, k]
            root = wp.sqrt(a[j, j])
            for i in range(j, 6):
                a[i, j] = a[i, j] / root
        for i in range(6):
            for k in range(i):
                b[i] = b[i] - a[i, k] * b[k]
            b[i] = b[i] / a[i, i]
        for r in range(6):
            i = 5 - r
            for k in range(i + 1, 6):
                b[i] = b[i] - a[k, i] * b[k]
            b[i] = b[i] / a[i, i]
        return b

    @wp.kernel
    def read_site(site_xpos: wp.array2d(dtype=wp.vec3), site: int, point: wp.array(dtype=wp.vec3)):
        """Copy the end-effector position, for the Jacobian."""
        world = wp.tid()
        point[world] = site_xpos[world, site]

    @wp.kernel
    def set_goal(
        site_xpos: wp.array2d(dtype=wp.vec3),
        site_xmat: wp.array2d(dtype=wp.mat33),
        site: int,
        moves: wp.array(dtype=wp.vec3),  # [m]
        turns: wp.array(dtype=wp.vec3),  # axis times angle [rad]
        goal_position: wp.array(dtype=wp.vec3),
        goal_matrix: wp.array(dtype=wp.mat33),
    ):
        """Set goal poses relative to the current poses."""
        world = wp.tid()
        goal_position[world] = site_xpos[world, site] + moves[world]
        angle = wp.length(turns[world])
        turn = wp.quat_identity()
        if angle > 1.0e-9:
            turn = wp.quat_from_axis_angle(turns[world] / angle, angle)
        goal_matrix[world] = wp.quat_to_matrix(turn) @ site_xmat[world, site]

    @wp.kernel
    def control(
        jacobian_position: wp.array3d(dtype=float),
        jacobian_rotation: wp.array3d(dtype=float),
        mass: wp.array3d(dtype=float),
        mass_row: wp.array2d(dtype=int),  # index of an element of the arm's mass matrix
        mass_column: wp.array2d(dtype=int),
        dof: wp.array(dtype=int),
        qpos_address: wp.array(dtype=int),
        actuator: wp.array(dtype=int),
        limits: wp.array2d(dtype=float),
        rest: wp.array(dtype=float),
        gains: wp.vec2,  # of the end-effector, of the posture
        site: int,
        qpos: wp.array2d(dtype=float),
        qvel: wp.array2d(dtype=float),
        bias: wp.array2d(dtype=float),
        site_xpos: wp.array2d(dtype=wp.vec3),
        site_xmat: wp.array2d(dtype=wp.mat33),
        goal_position: wp.array(dtype=wp.vec3),
        goal_matrix: wp.array(dtype=wp.mat33),
        ctrl: wp.array2d(dtype=float),
    ):
        """Write the torques of the arm."""
        world = wp.tid()
        jacobian, arm_mass = _mat67(), _mat77()
        velocity, posture = _vec7(), _vec7()
        for i in range(7):
            velocity[i] = qvel[world, dof[i]]
            for k in range(3):
                jacobian[k, i] = jacobian_position[world, k, dof[i]]
                jacobian[3 + k, i] = jacobian_rotation[world, k, dof[i]]
            for j in range(7):
                arm_mass[i, j] = mass[world, mass_row[i, j], mass_column[i, j]]
        reached, goal = site_xmat[world, site], goal_matrix[world]
        turned = wp.vec3()
        for k in range(3):
            axis = wp.vec3(reached[0, k], reached[1, k], reached[2, k])
            turned += 0.5 * wp.cross(axis, wp.vec3(goal[0, k], goal[1, k], goal[2, k]))
        moved = goal_position[world] - site_xpos[world, site]
        twist = jacobian * velocity
        damping = 2.0 * wp.sqrt(gains[0])
        force, moment = wp.vec3(), wp.vec3()
        for k in range(3):
            force[k] = gains[0] * moved[k] - damping * twist[k]
            moment[k] = gains[0] * turned[k] - damping * twist[3 + k]
        factor = _factor7(arm_mass)
        inverse = _mat66()
        pulled = _vec7()
        for i in range(7):
            address = qpos_address[i]
            pulled[i] = gains[1] * (rest[i] - qpos[world, address]) - 2.0 * wp.sqrt(gains[1]) * velocity[i]
        posture = arm_mass * pulled
        disturbance = jacobian * pulled  # of the end-effector by the posture's torques: J M^-1 M pulled
        for column in range(6):
            row = _vec7()
            for i in range(7):
                row[i] = jacobian[column, i]
            response = jacobian * _solved7(factor, row)
            for k in range(6):
                inverse[k, column] = response[k]
        upper, lower = wp.mat33(), wp.mat33()
        for i in range(3):
            for j in range(3):
                upper[i, j] = inverse[i, j]
                lower[i, j] = inverse[3 + i, 3 + j]
        linear, angular = wp.inverse(upper) * force, wp.inverse(lower) * moment
        correction = _solved6(inverse, disturbance)
        wrench = _vec6()
        for k in range(3):
            wrench[k] = linear[k] - correction[k]
            wrench[3 + k] = angular[k] - correction[3 + k]
        torque = wp.transpose(jacobian) * wrench + posture
        for i in range(7):
            applied = torque[i] + bias[world, dof[i]]
            ctrl[world, actuator[i]] = wp.clamp(applied, limits[i, 0], limits[i, 1])

    return SimpleNamespace(read_site=read_site, set_goal=set_goal, control=control)
