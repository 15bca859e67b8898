"""Grasp poses and clearances.

Items are grasped from above, at a yaw that their shape allows and where neighbors leave room for the fingers. For
clearances, objects are upright cylinders with their largest radius.
"""

import numpy as np

from vla_bench.core.geometry import quat_wxyz_to_matrix, yaw_of
from vla_bench.core.types import FloatArray, World
from vla_bench.experts.motion import Pose, nearest_equal_yaw, opening_yaw

NEUTRAL_YAW_RAD = np.pi / 2  # at the start posture the fingers open along the y axis of the world
_ASIDE_M = 0.012  # allowed offset of the open fingers from the item center, along their closing direction
_LEAST_HOLD_M = 0.003  # smallest depth of the grasp below the top of the item, if walls hold the hand up
_HAND_EXTRA_M = 0.018  # difference between half the thickness of the hand and of a finger
_YAW_TRIES_RAD = np.radians([0, 30, -30, 60, -60, 90])  # offsets from the neutral yaw, tried for a round item
_RIM_TRIES_RAD = np.radians(30)  # between the positions tried on a round rim
_ENOUGH_ROOM_M = 0.05  # for a finger outside a rim; more room is no better
_TURN_COST_M = 0.06  # path length equivalent to one radian of rotation, in the choice of a rim position
_TILTED_COST_M = 1.0  # path length equivalent to a horizontal instead of a vertical wall
_FAR_COST_M = 0.12  # path length equivalent to the far side (+x): a stretched arm returns slowly
_CROWDED_COST = 8.0  # meters of path equivalent to a missing meter of room


def grasp_pose(world: World, item: str) -> Pose:
    """Return the grasp pose for `item` in its current pose."""
    geometry = world.geometry(item)
    position = world.position_world(item) + np.array([0.0, 0.0, geometry.grasp_height_m])
    if geometry.grasp_offset_m > 0:
        return _rim_pose(world, item)
    closing_yaw = yaw_of(world.quat_wxyz_world(item)) + np.pi / 2  # the fingers close along the y axis of the item
    nearest = nearest_equal_yaw(closing_yaw, geometry.grasp_yaw_symmetry_rad, NEUTRAL_YAW_RAD)
    poses = [Pose(position, yaw) for yaw in _equal_yaws(geometry.grasp_yaw_symmetry_rad, nearest)]
    for aside_m in (0.0, _ASIDE_M, -_ASIDE_M):
        clear = [moved for pose in poses if not _walls_in_the_way(world, item, moved := _aside(pose, aside_m))]
        if clear:
            return _with_room(world, item, clear)
    return _above_walls(world, item, _with_room(world, item, poses))


def carried_yaw(world: World, item: str) -> float:
    """Return the yaw at which to carry `item`: that of a rim grasp, or the neutral yaw."""
    if world.geometry(item).grasp_offset_m > 0:
        return nearest_equal_yaw(opening_yaw(world), np.pi, NEUTRAL_YAW_RAD)
    return NEUTRAL_YAW_RAD


def upright(world: World, item: str) -> float:
    """Return the cosine of the angle by which `item` is tilted."""
    return float(quat_wxyz_to_matrix(world.quat_wxyz_world(item))[2, 2])


def _rim_pose(world: World, item: str) -> Pose:
    """Return the rim position that is reached soonest and leaves room for the outer finger.

    On a tilted item this is a position where the wall is still vertical.
    """
    geometry, turn = world.geometry(item), quat_wxyz_to_matrix(world.quat_wxyz_world(item))
    step = geometry.grasp_yaw_symmetry_rad or _RIM_TRIES_RAD
    tip, current = world.end_effector_position_world(), nearest_equal_yaw(opening_yaw(world), np.pi, NEUTRAL_YAW_RAD)
    poses, costs = [], []
    for angle in np.arange(0.0, 2 * np.pi - 1e-6, step):
        outwards = turn @ np.array([np.cos(angle), np.sin(angle), 0.0])
        up = turn @ np.array([0.0, 0.0, geometry.grasp_height_m])
        position = world.position_world(item) + geometry.grasp_offset_m * outwards + up
        yaw = nearest_equal_yaw(float(np.arctan2(outwards[1], outwards[0])), np.pi, NEUTRAL_YAW_RAD)
        room = _room_at(world, item, position + world.gripper().finger_offset_m * outwards)
        cost = float(np.linalg.norm(position[:2] - tip[:2])) + _TURN_COST_M * abs(yaw - current)
        poses.append(Pose(position, yaw))
        cost += _FAR_COST_M * max(0.0, float(outwards[0]))
        costs.append(cost + _CROWDED_COST * max(0.0, _ENOUGH_ROOM_M - room) + _TILTED_COST_M * abs(outwards[2]))
    return poses[int(np.argmin(costs))]


def _equal_yaws(symmetry_rad: float, nearest: float) -> list[float]:
    turns = _YAW_TRIES_RAD if symmetry_rad <= 0 else np.arange(0.0, np.pi - 1e-6, symmetry_rad)
    return [nearest_equal_yaw(nearest + turn, np.pi, NEUTRAL_YAW_RAD) for turn in turns]


def _aside(pose: Pose, distance_m: float) -> Pose:
    along = np.array([np.cos(pose.yaw_rad), np.sin(pose.yaw_rad), 0.0])
    return Pose(pose.position_world + distance_m * along, pose.yaw_rad)


def _with_room(world: World, item: str, poses: list[Pose]) -> Pose:
    """Return the first pose, or the pose with the most room for the fingers if a neighbor blocks them."""
    rooms = [_room_for_fingers(world, item, pose.position_world, pose.yaw_rad) for pose in poses]
    return poses[0] if rooms[0] > world.gripper().finger_clearance_m else poses[int(np.argmax(rooms))]


def _above_walls(world: World, item: str, grasp: Pose) -> Pose:
    """Return the grasp, raised so that the hand stays above the walls around the item."""
    rims_m = _walls_in_the_way(world, item, grasp)
    top_m = world.position_world(item)[2] + world.geometry(item).top_m
    height = min(max(rims_m) - world.gripper().palm_m, top_m - _LEAST_HOLD_M)
    return Pose(np.array([*grasp.position_world[:2], max(grasp.position_world[2], height)]), grasp.yaw_rad)


def _walls_in_the_way(world: World, item: str, grasp: Pose) -> list[float]:
    """Return the heights of container walls around the item that the hand would touch at this grasp [m]."""
    return [
        rim_m
        for container in world.items()
        if container != item and world.geometry(container).opening_half_size_m is not None
        if (rim_m := world.position_world(container)[2] + world.geometry(container).top_m)
        > grasp.position_world[2] + world.gripper().palm_m
        if world.inside(item, container) and _hand_leaves(world, container, grasp)
    ]


def _hand_leaves(world: World, container: str, grasp: Pose) -> bool:
    """Return whether part of the hand would be outside the opening of the container."""
    turn = grasp.yaw_rad - yaw_of(world.quat_wxyz_world(container))
    center = quat_wxyz_to_matrix(world.quat_wxyz_world(container)).T @ (
        grasp.position_world - world.position_world(container)
    )
    cosine, sine = abs(np.cos(turn)), abs(np.sin(turn))
    reach_m = np.array([[cosine, sine], [sine, cosine]]) @ np.array(world.gripper().palm_half_size_m)
    return bool((np.abs(center[:2]) + reach_m > np.asarray(world.geometry(container).opening_half_size_m)).any())


def _room_for_fingers(world: World, item: str, position: FloatArray, yaw: float) -> float:
    """Return the smallest horizontal distance between an open finger and the body of a neighbor [m].

    For a neighbor tall enough to touch the hand it is the distance of the hand, minus its additional thickness.
    """
    along = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    fingers = (_room_at(world, item, position + side * world.gripper().finger_offset_m * along) for side in (-1.0, 1.0))
    return min(*fingers, _room_for_hand(world, item, position, along))


def _room_for_hand(world: World, item: str, position: FloatArray, along: FloatArray) -> float:
    distances = [np.inf]
    for other in world.items():
        geometry, place = world.geometry(other), world.position_world(other)
        tall = place[2] + geometry.top_m > position[2] + world.gripper().palm_m
        if other != item and tall and not world.inside(item, other):
            offset = (place - position)[:2]
            half_m = world.gripper().palm_half_size_m[0]
            share = float(np.clip(offset @ along[:2], -half_m, half_m))
            distances.append(float(np.linalg.norm(offset - share * along[:2])) - geometry.support_radius_m)
    return min(distances) - _HAND_EXTRA_M


def _room_at(world: World, item: str, finger: FloatArray) -> float:
    """Return the horizontal distance between a finger at grasp height and the nearest neighbor [m]."""
    distances = [np.inf]
    for other in world.items():
        geometry, place = world.geometry(other), world.position_world(other)
        if other != item and place[2] + geometry.top_m > finger[2] - world.gripper().fingertip_m:
            distances.append(float(np.linalg.norm(finger[:2] - place[:2])) - geometry.support_radius_m)
    return min(distances)


_HALF_WIDTH_M = 0.05  # of the fingers and their load, to either side of the path
_SPOT_GAP_M = 0.012  # between objects placed on one support
_RINGS = ((0.0, 1), (0.55, 8), (0.85, 12))  # fractions of the support radius at which spots are tried, and their number


def height_over(world: World, start: FloatArray, end: FloatArray, but: frozenset[str]) -> float:
    """Return the height [m] that the fingertips must keep on the straight path between two positions.

    It clears the tallest object below fingers and load, and objects to the side that the hand would touch; minus
    infinity without obstacles.
    """
    gripper, heights = world.gripper(), [-np.inf]
    for item in set(world.items()) - but:
        geometry, place = world.geometry(item), world.position_world(item)
        top_m = float(place[2]) + geometry.top_m
        lateral_m = _distance_to_path(place[:2], start[:2], end[:2]) - max(geometry.radius_m, geometry.support_radius_m)
        if lateral_m < _HALF_WIDTH_M:
            heights.append(top_m)
        elif lateral_m < gripper.palm_half_size_m[0]:  # independent of the opening direction of the fingers
            heights.append(top_m - gripper.palm_m)
    return max(heights)


def free_spot(world: World, item: str, support: str) -> FloatArray:
    """Return a free position for `item` on or in `support`, near its center: (2,), horizontal, world frame."""
    center, radius_m = world.position_world(support)[:2], world.geometry(support).support_radius_m
    others = [other for other in world.items() if other not in (item, support) and _rests_on(world, other, support)]
    best, most = center, -np.inf
    for share, count in _RINGS:
        for angle in np.linspace(0.0, 2 * np.pi, count, endpoint=False):
            spot = center + share * radius_m * np.array([np.cos(angle), np.sin(angle)])
            room = min((_gap_m(world, item, spot, other) for other in others), default=np.inf)
            if room > _SPOT_GAP_M:
                return np.asarray(spot)
            if room > most:
                best, most = spot, room
    return np.asarray(best)


def _rests_on(world: World, other: str, support: str) -> bool:
    above = world.position_world(other)[2] > world.position_world(support)[2]  # without the object below the support
    return world.inside(other, support) or (bool(above) and world.in_contact(other, support))


def _gap_m(world: World, item: str, spot: FloatArray, other: str) -> float:
    distance = float(np.linalg.norm(spot - world.position_world(other)[:2]))
    return distance - world.geometry(item).radius_m - world.geometry(other).radius_m


def _distance_to_path(point: FloatArray, start: FloatArray, end: FloatArray) -> float:
    path = end - start
    squared_length = float(path @ path)
    share = float(np.clip((point - start) @ path / squared_length, 0.0, 1.0)) if squared_length > 0 else 0.0
    return float(np.linalg.norm(point - start - share * path))
