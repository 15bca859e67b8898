"""Take an item from above: the first part of many skills."""

import numpy as np

from vla_bench.core.types import FloatArray, World
from vla_bench.experts.clearance import height_over
from vla_bench.experts.grasps import grasp_pose, upright
from vla_bench.experts.motion import CLOSE, OPEN, Pose, action_towards, nearest_equal_yaw, opening_yaw
from vla_bench.experts.skills.skill import Action

_HOVER_M = 0.10  # above the grasp, while the fingers are not yet over the item
_FUNNEL_SLOPE = 4.0  # metres of height kept for each metre of horizontal distance beyond the centre
_CENTRED_M = 0.006
_AT_GRASP_M = 0.012
_AT_GRASP_YAW_RAD = 0.15
_TRAVEL_M = 0.06  # of horizontal distance, beyond which the fingers stay over everything on the way
_FINGER_CLEARANCE_M = 0.03  # between the grasp's height and what it passes over
_RISE_BLEND_M = 0.03  # of height missing, at which nothing is travelled yet
_EMPTY_M = 0.003  # between the fingers: thinner things are not picked up
_OPEN_AGAIN_SHARE = 0.75  # of the opening, after the fingers closed on nothing
_STILL_M = 0.0006  # change of the fingers' distance in a step under which they have closed on something


class Grip:
    """Whether the fingers have closed on an item, which takes two looks to know."""

    def __init__(self) -> None:
        self._last_opening_m = np.inf

    def holds(self, world: World, item: str) -> bool:
        """Whether the item is between fingers that have stopped closing."""
        opening = world.gripper_opening_m()
        still = abs(opening - self._last_opening_m) < _STILL_M
        self._last_opening_m = opening
        raised = world.position_world(item)[2] > world.initial_position_world(item)[2] + 0.015
        return world.in_contact(item, "gripper") and (still or bool(raised)) and _around(world, item)


class Pick:
    """Take an item from above."""

    def __init__(self, item: str) -> None:
        self.item = item
        self._grip = Grip()
        self._missed = False

    def holds(self, world: World) -> bool:
        """Whether the item is in the gripper; to be asked once a step."""
        return self._grip.holds(world, self.item)

    def act(self, world: World) -> tuple[Action, str]:
        """Approach through a funnel over the item, then close."""
        grasp = grasp_pose(world, self.item)
        offset = world.end_effector_position_world() - grasp.position_world
        lateral = float(np.linalg.norm(offset[:2]))
        yaw_error = abs(_yaw_error(world, grasp.yaw_rad))
        if self._has_missed(world):
            above = grasp.position_world + np.array([0.0, 0.0, _HOVER_M])
            return action_towards(world, Pose(above, grasp.yaw_rad), OPEN), "reach"
        if lateral < _AT_GRASP_M and abs(offset[2]) < _AT_GRASP_M and yaw_error < _AT_GRASP_YAW_RAD:
            return action_towards(world, grasp, CLOSE), "grasp"
        height = min(_HOVER_M, _FUNNEL_SLOPE * max(0.0, lateral - _CENTRED_M) + 0.3 * max(0.0, yaw_error - 0.1))
        above = grasp.position_world + np.array([0.0, 0.0, height])
        if lateral > _TRAVEL_M:
            above = self._over_what_stands(world, above)
        return action_towards(world, Pose(above, grasp.yaw_rad), OPEN), "reach"

    def _has_missed(self, world: World) -> bool:
        """Whether the fingers closed on nothing, and are not open again since."""
        opening = world.gripper_opening_m()
        empty = opening < _EMPTY_M and not world.in_contact(self.item, "gripper")
        self._missed = empty or (self._missed and opening < _OPEN_AGAIN_SHARE * world.gripper().opening_m)
        return self._missed

    def _over_what_stands(self, world: World, target: FloatArray) -> FloatArray:
        """Return where to go next on the way to `target`: up first, where something taller stands between."""
        tip = world.end_effector_position_world()
        safe_m = height_over(world, tip, target, frozenset({self.item})) + _FINGER_CLEARANCE_M
        height = max(target[2], safe_m)
        risen = float(np.clip(1.0 - (safe_m - tip[2]) / _RISE_BLEND_M, 0.0, 1.0))
        return np.array([*(tip[:2] + risen * (target[:2] - tip[:2])), height])


def _around(world: World, item: str) -> bool:
    geometry = world.geometry(item)
    offset = world.end_effector_position_world() - world.position_world(item)
    off_grasp_m = abs(float(np.linalg.norm(offset[:2])) - geometry.grasp_offset_m)
    tilted_m = geometry.grasp_offset_m * np.sqrt(max(0.0, 1.0 - upright(world, item) ** 2))  # by which a rim is raised
    return bool(off_grasp_m < 0.03 and geometry.bottom_m - 0.02 < offset[2] < geometry.top_m + 0.01 + tilted_m)


def _yaw_error(world: World, yaw_rad: float) -> float:
    return nearest_equal_yaw(opening_yaw(world), np.pi, yaw_rad) - yaw_rad
