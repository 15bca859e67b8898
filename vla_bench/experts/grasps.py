"""Where the fingers take an item: from above, at a yaw that the item allows and its neighbours leave room for."""

import numpy as np

from vla_bench.core.rotations import yaw_of
from vla_bench.core.types import FloatArray, World
from vla_bench.experts.motion import Pose, nearest_equal_yaw, opening_yaw

NEUTRAL_YAW_RAD = np.pi / 2  # the fingers open along the world's y axis when the arm is at its start
_FINGER_OFFSET_M = 0.047  # from the grasp's centre to the middle of an open finger
_FINGER_CLEARANCE_M = 0.022  # between the middle of a finger and a neighbour, for the neighbour not to be touched
_FINGERTIP_M = 0.015  # how far the fingers reach below the grasp
_YAW_TRIES_RAD = np.radians([0, 30, -30, 60, -60, 90])  # for a round item, from the neutral yaw
_RIM_TRIES_RAD = np.radians(30)  # between the places tried on a rim that is round
_ENOUGH_ROOM_M = 0.05  # for a finger outside a rim; more is no better
_TURN_COST_M = 0.06  # of way that a radian of turning is worth, in the choice of a place on a rim
_CROWDED_COST = 8.0  # metres of way that a missing metre of room is worth


def grasp_pose(world: World, item: str) -> Pose:
    """Return where the fingers should close on `item`, as it lies now."""
    geometry = world.geometry(item)
    position = world.position_world(item) + np.array([0.0, 0.0, geometry.grasp_height_m])
    if geometry.grasp_offset_m > 0:
        return _rim_pose(world, item, position)
    closing_yaw = yaw_of(world.quat_wxyz_world(item)) + np.pi / 2  # the fingers close along the item's y axis
    nearest = nearest_equal_yaw(closing_yaw, geometry.grasp_yaw_symmetry_rad, NEUTRAL_YAW_RAD)
    return Pose(position, _free_yaw(world, item, position, nearest))


def carried_yaw(world: World, item: str) -> float:
    """Return the yaw at which to carry `item`: that of the grip on a rim, or the neutral one."""
    if world.geometry(item).grasp_offset_m > 0:
        return nearest_equal_yaw(opening_yaw(world), np.pi, NEUTRAL_YAW_RAD)
    return NEUTRAL_YAW_RAD


def _rim_pose(world: World, item: str, centre: FloatArray) -> Pose:
    """Return the place on the rim that is soonest reached and leaves room for the finger outside."""
    geometry = world.geometry(item)
    step = geometry.grasp_yaw_symmetry_rad or _RIM_TRIES_RAD
    tip, current = world.end_effector_position_world(), nearest_equal_yaw(opening_yaw(world), np.pi, NEUTRAL_YAW_RAD)
    poses, costs = [], []
    for angle in yaw_of(world.quat_wxyz_world(item)) + np.arange(0.0, 2 * np.pi - 1e-6, step):
        outwards = np.array([np.cos(angle), np.sin(angle), 0.0])
        position = centre + geometry.grasp_offset_m * outwards
        yaw = nearest_equal_yaw(angle, np.pi, NEUTRAL_YAW_RAD)
        room = _room_at(world, item, position + _FINGER_OFFSET_M * outwards)
        way = float(np.linalg.norm(position[:2] - tip[:2])) + _TURN_COST_M * abs(yaw - current)
        poses.append(Pose(position, yaw))
        costs.append(way + _CROWDED_COST * max(0.0, _ENOUGH_ROOM_M - room))
    return poses[int(np.argmin(costs))]


def _free_yaw(world: World, item: str, position: FloatArray, nearest: float) -> float:
    """Return `nearest`, or the equal yaw with the most room for the fingers if a neighbour stands in their way."""
    symmetry = world.geometry(item).grasp_yaw_symmetry_rad
    turns = _YAW_TRIES_RAD if symmetry <= 0 else np.arange(0.0, np.pi - 1e-6, symmetry)
    yaws = [nearest_equal_yaw(nearest + turn, np.pi, NEUTRAL_YAW_RAD) for turn in turns]
    rooms = [_room_for_fingers(world, item, position, yaw) for yaw in yaws]
    return yaws[0] if rooms[0] > _FINGER_CLEARANCE_M else yaws[int(np.argmax(rooms))]


def _room_for_fingers(world: World, item: str, position: FloatArray, yaw: float) -> float:
    """Return the least horizontal distance between an open finger and a neighbour's body [m]."""
    along = _FINGER_OFFSET_M * np.array([np.cos(yaw), np.sin(yaw), 0.0])
    return min(_room_at(world, item, position + side * along) for side in (-1.0, 1.0))


def _room_at(world: World, item: str, finger: FloatArray) -> float:
    """Return the horizontal distance between a finger at the height of a grasp and the nearest neighbour [m]."""
    distances = [np.inf]
    for other in world.items():
        geometry, place = world.geometry(other), world.position_world(other)
        if other != item and place[2] + geometry.top_m > finger[2] - _FINGERTIP_M:
            distances.append(float(np.linalg.norm(finger[:2] - place[:2])) - geometry.support_radius_m)
    return min(distances)
