"""Skills that reach one goal predicate each.

Every decision follows from the world as it is now, so a skill recovers from disturbance by itself: a thing that is
dropped is picked up again.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.registry import Registry
from vla_bench.core.types import FloatArray, World
from vla_bench.experts.grasps import NEUTRAL_YAW_RAD, grasp_pose
from vla_bench.experts.motion import CLOSE, OPEN, Pose, action_towards, nearest_equal_yaw, opening_yaw
from vla_bench.tasks.task import Goal

_HOVER_M = 0.10  # above the grasp, while the fingers are not yet over the item
_FUNNEL_SLOPE = 4.0  # metres of height kept for each metre of horizontal distance beyond the centre
_CENTRED_M = 0.006
_AT_GRASP_M = 0.012
_AT_GRASP_YAW_RAD = 0.15
_STILL_M = 0.0006  # change of the fingers' distance in a step under which they have closed on something
_CLEARANCE_M = 0.05  # between a carried item and what it is carried over
_RELEASE_HEIGHT_M = 0.012
_LIFT_M = 0.12
_RISING_REACH_M = 0.04  # how far ahead a carried item is drawn while it still rises

Action = NDArray[np.float32]


class Skill(Protocol):
    """Something that an expert knows how to do."""

    def act(self, world: World) -> tuple[Action, str]:
        """Return the next (7,) action and the phase it belongs to."""


skills: Registry[Callable[[Goal], Skill]] = Registry("skill for the goal predicate", package="vla_bench.experts")


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

    def holds(self, world: World) -> bool:
        """Whether the item is in the gripper; to be asked once a step."""
        return self._grip.holds(world, self.item)

    def act(self, world: World) -> tuple[Action, str]:
        """Approach through a funnel over the item, then close."""
        grasp = grasp_pose(world, self.item)
        offset = world.end_effector_position_world() - grasp.position_world
        lateral = float(np.linalg.norm(offset[:2]))
        yaw_error = abs(_yaw_error(world, grasp.yaw_rad))
        if lateral < _AT_GRASP_M and abs(offset[2]) < _AT_GRASP_M and yaw_error < _AT_GRASP_YAW_RAD:
            return action_towards(world, grasp, CLOSE), "grasp"
        height = min(_HOVER_M, _FUNNEL_SLOPE * max(0.0, lateral - _CENTRED_M) + 0.3 * max(0.0, yaw_error - 0.1))
        above = Pose(grasp.position_world + np.array([0.0, 0.0, height]), grasp.yaw_rad)
        return action_towards(world, above, OPEN), "reach"


@skills.named("lifted")
class Lift:
    """Pick an item up and hold it."""

    def __init__(self, goal: Goal) -> None:
        (item,) = goal.arguments
        self._pick = Pick(item)

    def act(self, world: World) -> tuple[Action, str]:
        """Pick, then raise."""
        if not self._pick.holds(world):
            return self._pick.act(world)
        target = grasp_pose(world, self._pick.item).position_world.copy()
        rest_m = world.initial_position_world(self._pick.item)[2]
        target[2] = rest_m + world.geometry(self._pick.item).grasp_height_m + _LIFT_M
        return action_towards(world, Pose(target, NEUTRAL_YAW_RAD), CLOSE), "lift"


class Transfer:
    """Pick an item up and put it on or in something."""

    def __init__(self, goal: Goal) -> None:
        item, self._support = goal.arguments
        self._pick = Pick(item)

    def act(self, world: World) -> tuple[Action, str]:
        """Pick, carry over the support, lower, let go."""
        item = self._pick.item
        holds, lateral = self._pick.holds(world), self._lateral_distance(world)
        tip = world.end_effector_position_world()
        release = self._release_position(world)
        if self._arrived(world):
            away = Pose(np.array([tip[0], tip[1], tip[2] + 0.08]), NEUTRAL_YAW_RAD)
            still_holding = world.in_contact(item, "gripper")
            return action_towards(world, Pose(tip, NEUTRAL_YAW_RAD) if still_holding else away, OPEN), "release"
        if not holds:
            return self._pick.act(world)
        if lateral < 0.02 and tip[2] < release[2] + _RELEASE_HEIGHT_M:
            return action_towards(world, Pose(release, NEUTRAL_YAW_RAD), OPEN), "release"
        return self._carry(world, release, lateral)

    def _carry(self, world: World, release: FloatArray, lateral: float) -> tuple[Action, str]:
        tip = world.end_effector_position_world()
        carry_m = max(release[2], self._tallest_m(world)) + _CLEARANCE_M
        height = release[2] + (carry_m - release[2]) * float(np.clip((lateral - 0.015) / 0.05, 0.0, 1.0))
        target = np.array([release[0], release[1], height])
        lifted = float(np.clip(1.0 - (carry_m - tip[2] - 0.02) / 0.03, 0.0, 1.0))
        if lateral > 0.06 and lifted < 1.0:  # rise before travelling, so that nothing on the way is knocked over
            target[:2] = tip[:2] + lifted * _shortened(target[:2] - tip[:2], _RISING_REACH_M)
        return action_towards(world, Pose(target, NEUTRAL_YAW_RAD), CLOSE), "lift" if lifted < 0.5 else "place"

    def _lateral_distance(self, world: World) -> float:
        offset = world.position_world(self._pick.item) - world.position_world(self._support)
        return float(np.linalg.norm(offset[:2]))

    def _release_position(self, world: World) -> FloatArray:
        """End-effector position from which the item is let go."""
        item, support = world.geometry(self._pick.item), world.geometry(self._support)
        base = world.position_world(self._support)
        grip_m = world.end_effector_position_world()[2] - world.position_world(self._pick.item)[2] - item.bottom_m
        grip_m = float(np.clip(grip_m, 0.01, item.top_m - item.bottom_m))
        low = base[2] + support.support_m + grip_m + 0.006
        rim = base[2] + support.top_m + 0.012
        return np.array([base[0], base[1], max(low, rim)])

    def _arrived(self, world: World) -> bool:
        """Whether the item lies where it should, so that only letting go and leaving remain."""
        item = self._pick.item
        placed = world.inside(item, self._support) or world.in_contact(item, self._support)
        near = self._lateral_distance(world) < world.geometry(self._support).support_radius_m
        return placed and near and world.gripper_opening_m() > 0.0 and self._lowered(world)

    def _lowered(self, world: World) -> bool:
        item, base = world.geometry(self._pick.item), world.position_world(self._support)
        bottom = world.position_world(self._pick.item)[2] + item.bottom_m
        return bool(bottom < base[2] + max(world.geometry(self._support).support_m, 0.0) + 0.03)

    def _tallest_m(self, world: World) -> float:
        """Height that the end-effector must keep for the item to pass over the things that still stand."""
        others = [name for name in world.items() if name != self._pick.item]
        tops = [world.position_world(name)[2] + world.geometry(name).top_m for name in others]
        item = world.geometry(self._pick.item)
        return float(max(tops)) + item.grasp_height_m - item.bottom_m - 0.03


skills.register(Transfer, name="on")
skills.register(Transfer, name="in")


def _around(world: World, item: str) -> bool:
    geometry = world.geometry(item)
    offset = world.end_effector_position_world() - world.position_world(item)
    return bool(np.linalg.norm(offset[:2]) < 0.03 and geometry.bottom_m - 0.02 < offset[2] < geometry.top_m + 0.01)


def _yaw_error(world: World, yaw_rad: float) -> float:
    return nearest_equal_yaw(opening_yaw(world), np.pi, yaw_rad) - yaw_rad


def _shortened(vector: FloatArray, longest: float) -> FloatArray:
    length = float(np.linalg.norm(vector))
    return vector * min(1.0, longest / length) if length > 0 else vector
