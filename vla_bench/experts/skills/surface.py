"""Skills that move along a surface: pushing and wiping."""

import numpy as np

from vla_bench.core.geometry import quat_wxyz_to_matrix
from vla_bench.core.types import DirtyWorld, FloatArray, World
from vla_bench.experts.motion import (
    CLOSE,
    OPEN,
    Pose,
    action_towards,
    action_towards_frame,
    nearest_equal_yaw,
    rotation_error_rad,
)
from vla_bench.experts.skills import Action, skills
from vla_bench.tasks.task import Goal

_REFERENCE_YAW_RAD = np.pi / 4  # of two equivalent yaws the one nearer to this is used
_TIP_HEIGHT_M = 0.002  # height of the fingertips above the surface
_GAP_M = 0.035  # distance behind the item at which the fingers descend
_HOVER_M = 0.07
_LOW_M = 0.02  # above the pushing height, up to which the fingers may continue from their position
_SLIPPING_M = 0.006  # the same for a thin item that the fingers would slip over
_RETREAT_M, _RISE_M = 0.04, 0.003  # distance back and up of the target in this case
_LEAD_M = 0.03  # lead of the target ahead of the item
_NEXT_TO_M = 0.03  # offset from the pushing line at which the fingers would slip past the item
_OVERLAP_M = 0.02  # smallest depth of a round item between the fingers


@skills.named("at")
class Push:
    """Push an item across the table to a place, with open fingers so that it cannot slip sideways."""

    def __init__(self, goal: Goal) -> None:
        self._item, self._place = goal.arguments

    def act(self, world: World) -> tuple[Action, str]:
        """Descend behind the item, then push it along the line to the place."""
        center, tip = world.position_world(self._item), world.end_effector_position_world()
        way = (world.position_world(self._place) - center)[:2]
        distance_m = float(np.linalg.norm(way))
        ahead = np.array([*way / max(distance_m, 1e-6), 0.0])
        floor_m = world.position_world(self._place)[2] + world.geometry(self._place).bottom_m
        behind = center - ahead * (self._reach_m(world) + _GAP_M)
        behind[2] = floor_m + _TIP_HEIGHT_M + world.gripper().fingertip_m
        yaw = nearest_equal_yaw(float(np.arctan2(ahead[1], ahead[0])) + np.pi / 2, np.pi, _REFERENCE_YAW_RAD)
        if tip[2] - behind[2] < _LOW_M and self._is_behind(world, tip - center, ahead):
            target = self._along(world, tip - center, ahead, distance_m, behind[2])
            return action_towards(world, Pose(target, yaw), OPEN), "push"
        return action_towards(world, self._over(world, Pose(behind, yaw)), OPEN), "reach"

    def _over(self, world: World, pose: Pose) -> Pose:
        """Return the next target on the way down to `pose`: high until above it."""
        tip = world.end_effector_position_world()
        lateral = float(np.linalg.norm((tip - pose.position_world)[:2]))
        turn = rotation_error_rad(world, pose)
        height = min(_HOVER_M, 4.0 * max(0.0, lateral - 0.01) + 0.3 * max(0.0, turn - 0.15))
        target = pose.position_world + np.array([0.0, 0.0, height])
        if tip[2] < pose.position_world[2] + 0.5 * height:  # rise before moving horizontally, not through the item
            target[:2] = tip[:2]
        return Pose(target, pose.yaw_rad)

    def _is_behind(self, world: World, offset: FloatArray, ahead: FloatArray) -> bool:
        along_m = float(offset @ ahead)
        beside_m = float(np.linalg.norm((offset - along_m * ahead)[:2]))
        return along_m < _OVERLAP_M - self._reach_m(world) and beside_m < _NEXT_TO_M

    def _along(
        self, world: World, offset: FloatArray, ahead: FloatArray, distance_m: float, height_m: float
    ) -> FloatArray:
        """Return the next pushing target; back and down if the fingers have slipped onto the item."""
        tip = world.end_effector_position_world()
        slipped = tip[2] - height_m > _SLIPPING_M
        over = slipped and float(offset @ ahead) > -self._reach_m(world) - _OVERLAP_M
        lead_m = -_RETREAT_M if over else 0.0 if slipped else min(_LEAD_M, distance_m + 0.01)
        target = tip + ahead * lead_m + self._sideways(offset, ahead)
        target[2] = tip[2] + _RISE_M if over else height_m
        return target

    def _sideways(self, offset: FloatArray, ahead: FloatArray) -> FloatArray:
        """Return the target that leads back to the pushing line."""
        along = float(offset @ ahead)
        back: FloatArray = (along * ahead - offset) * np.array([1.0, 1.0, 0.0])
        return back

    def _reach_m(self, world: World) -> float:
        return world.geometry(self._item).support_radius_m


_PRESS_M = 0.015  # target depth below the surface: the arm is compliant
_WIPE_HOVER_M = 0.05
_NEAR_M = 0.04  # a spot at this distance is reached by sliding; a farther one is approached from above
_OVERSHOOT_M = 0.02  # target distance beyond the spot, so that the tool does not slow down before it


@skills.named("wiped")
class Wipe:
    """Press the tool flat onto the surface and slide it over the dirt."""

    def __init__(self, goal: Goal) -> None:
        (self._dirt,) = goal.arguments
        self._flat: FloatArray | None = None

    def act(self, world: World) -> tuple[Action, str]:
        """Move to the nearest remaining spot, pressing once there."""
        assert isinstance(world, DirtyWorld), "the predicate of the goal checks it"
        tool = world.end_effector_position_world()
        if self._flat is None:
            self._flat = _flattened(quat_wxyz_to_matrix(world.end_effector_quat_wxyz_world()))
        spots = world.dirt_world(self._dirt)
        surface_m = world.position_world(self._dirt)[2]
        if len(spots) == 0:
            return action_towards_frame(world, tool + np.array([0.0, 0.0, _WIPE_HOVER_M]), self._flat, CLOSE), "rise"
        offset = spots[:, :2] - tool[:2]
        nearest = offset[int(np.argmin(np.linalg.norm(offset, axis=1)))]
        distance = float(np.linalg.norm(nearest))
        down = tool[2] < surface_m + 0.01
        height = -_PRESS_M if down or distance < _NEAR_M else _WIPE_HOVER_M
        ahead = nearest * (1.0 + _OVERSHOOT_M / max(distance, _OVERSHOOT_M)) if down else nearest
        target = np.array([*(tool[:2] + ahead), surface_m + height])
        return action_towards_frame(world, target, self._flat, CLOSE), "wipe" if down else "reach"


def _flattened(matrix: FloatArray) -> FloatArray:
    """Return the orientation (3, 3) that points straight down and keeps the horizontal direction of the x axis."""
    down = np.array([0.0, 0.0, -1.0])
    x_axis = np.array([matrix[0, 0], matrix[1, 0], 0.0])
    x_axis /= np.linalg.norm(x_axis)
    return np.stack([x_axis, np.cross(down, x_axis), down], axis=1)
