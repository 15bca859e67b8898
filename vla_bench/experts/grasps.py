"""Where the fingers take an item: from above, at a yaw that the item allows and its neighbours leave room for."""

import numpy as np

from vla_bench.core.rotations import yaw_of
from vla_bench.core.types import FloatArray, World
from vla_bench.experts.motion import Pose, nearest_equal_yaw

NEUTRAL_YAW_RAD = np.pi / 2  # the fingers open along the world's y axis when the arm is at its start
_YAW_TRIES_RAD = np.radians([0, 30, -30, 60, -60, 90])  # for a round item, from the neutral yaw


def grasp_pose(world: World, item: str) -> Pose:
    """Return where the fingers should close on `item`, as it lies now."""
    geometry = world.geometry(item)
    position = world.position_world(item) + np.array([0.0, 0.0, geometry.grasp_height_m])
    closing_yaw = yaw_of(world.quat_wxyz_world(item)) + np.pi / 2  # the fingers close along the item's y axis
    nearest = nearest_equal_yaw(closing_yaw, geometry.grasp_yaw_symmetry_rad, NEUTRAL_YAW_RAD)
    return Pose(position, _free_yaw(world, item, position, nearest))


def _free_yaw(world: World, item: str, position: FloatArray, nearest: float) -> float:
    """Return `nearest`, or the equal yaw with the most room for the fingers if a neighbour stands in their way."""
    symmetry = world.geometry(item).grasp_yaw_symmetry_rad
    turns = _YAW_TRIES_RAD if symmetry <= 0 else np.arange(0.0, np.pi - 1e-6, symmetry)
    yaws = [nearest_equal_yaw(nearest + turn, np.pi, NEUTRAL_YAW_RAD) for turn in turns]
    rooms = [_room_for_fingers(world, item, position, yaw) for yaw in yaws]
    return yaws[0] if rooms[0] > world.gripper().finger_clearance_m else yaws[int(np.argmax(rooms))]


def _room_for_fingers(world: World, item: str, position: FloatArray, yaw: float) -> float:
    """Return the least horizontal distance between an open finger and a neighbour's body [m]."""
    gripper = world.gripper()
    along = gripper.finger_offset_m * np.array([np.cos(yaw), np.sin(yaw)])
    distances = [np.inf]
    for other in world.items():
        geometry, place = world.geometry(other), world.position_world(other)
        if other != item and place[2] + geometry.top_m > position[2] - gripper.fingertip_m:
            gaps = [np.linalg.norm(position[:2] + side * along - place[:2]) for side in (-1.0, 1.0)]
            distances.append(float(min(gaps)) - geometry.support_radius_m)
    return min(distances)
