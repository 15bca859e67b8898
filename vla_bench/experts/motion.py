"""Proportional control from a desired end-effector pose to an action."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.geometry import quat_wxyz_to_matrix
from vla_bench.core.types import MAX_DELTA_POSITION_M, MAX_DELTA_ROTATION_RAD, FloatArray, World

OPEN, CLOSE = -1.0, 1.0
_POSITION_GAIN = 1.4  # fraction of the remaining distance per action; the controller achieves about a third of it
_ROTATION_GAIN = 1.2
_LARGEST_ACTION = 0.9  # leaves room for noise on top


@dataclass(frozen=True)
class Pose:
    """A gripper pose: pointing down, with the fingers opening along `yaw_rad` in the horizontal plane.

    A tilt rotates the gripper about the opening direction of the fingers, so that they point down and forward,
    perpendicular to it.
    """

    position_world: FloatArray  # (3,) [m]
    yaw_rad: float
    tilt_rad: float = 0.0  # 0 straight down, pi/2 level


def action_towards(world: World, pose: Pose, gripper: float) -> NDArray[np.float32]:
    """Return the (7,) action that moves the end-effector towards `pose`."""
    return action_towards_frame(world, pose.position_world, _orientation(pose), gripper)


def action_towards_frame(
    world: World, position_world: FloatArray, matrix_world: FloatArray, gripper: float
) -> NDArray[np.float32]:
    """Return the (7,) action that moves the end-effector towards a position (3,) and an orientation (3, 3).

    The fingers open along the x axis of the gripper and point along its z axis.
    """
    distance = position_world - world.end_effector_position_world()
    move = _limited(_POSITION_GAIN * distance / MAX_DELTA_POSITION_M)
    turn = _limited(_ROTATION_GAIN * rotation_left(world, matrix_world) / MAX_DELTA_ROTATION_RAD)
    return np.concatenate([move, turn, [gripper]]).astype(np.float32)


def rotation_error_rad(world: World, pose: Pose) -> float:
    """Return the angle between the orientations of the gripper and of `pose`."""
    return float(np.linalg.norm(rotation_left(world, _orientation(pose))))


def rotation_left(world: World, matrix_world: FloatArray) -> FloatArray:
    """Return the rotation vector (3,) from the end-effector's orientation to `matrix_world` [rad]."""
    current = quat_wxyz_to_matrix(world.end_effector_quat_wxyz_world())
    return _rotation_vector(matrix_world @ current.T)


def opening_yaw(world: World) -> float:
    """Return the direction in the horizontal plane along which the fingers open, in (-pi/2, pi/2] [rad]."""
    opening_axis = quat_wxyz_to_matrix(world.end_effector_quat_wxyz_world())[:, 0]
    return centered_modulo(float(np.arctan2(opening_axis[1], opening_axis[0])), np.pi)


def nearest_equal_yaw(yaw_rad: float, symmetry_rad: float, to_rad: float) -> float:
    """Return the yaw equal to `yaw_rad` under the symmetry that is nearest to `to_rad`; symmetry 0 means any."""
    if symmetry_rad <= 0:
        return to_rad
    return to_rad + centered_modulo(yaw_rad - to_rad, symmetry_rad)


def centered_modulo(angle: float, period: float) -> float:
    """Return the angle plus the multiple of `period` that brings it into [-period/2, period/2)."""
    return (angle + period / 2) % period - period / 2


def _limited(vector: FloatArray) -> FloatArray:
    """Shorten `vector` so that no component exceeds the limit, keeping its direction."""
    largest = float(np.abs(vector).max())
    return vector * min(1.0, _LARGEST_ACTION / largest) if largest > 0 else vector


def _orientation(pose: Pose) -> FloatArray:
    x_axis = np.array([np.cos(pose.yaw_rad), np.sin(pose.yaw_rad), 0.0])
    forward, down = np.array([-x_axis[1], x_axis[0], 0.0]), np.array([0.0, 0.0, -1.0])
    z_axis = np.cos(pose.tilt_rad) * down + np.sin(pose.tilt_rad) * forward
    return np.stack([x_axis, np.cross(z_axis, x_axis), z_axis], axis=1)


def _rotation_vector(matrix: FloatArray) -> FloatArray:
    skew = np.array([matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]]) / 2
    sine = float(np.linalg.norm(skew))
    angle = float(np.arctan2(sine, (np.trace(matrix) - 1) / 2))
    return skew * (angle / sine) if sine > 1e-9 else np.zeros(3)
