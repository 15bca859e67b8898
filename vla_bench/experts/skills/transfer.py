"""Pick an item up and put it on or in something."""

import numpy as np

from vla_bench.core.types import FloatArray, World
from vla_bench.experts.clearance import free_spot, height_over
from vla_bench.experts.grasps import NEUTRAL_YAW_RAD, carried_yaw
from vla_bench.experts.motion import CLOSE, OPEN, Pose, action_towards, nearest_equal_yaw, opening_yaw
from vla_bench.experts.skills.pick import Pick
from vla_bench.experts.skills.skill import Action, skills
from vla_bench.tasks.task import Goal

_CLEARANCE_M = 0.05  # between a carried item and what it is carried over
_RELEASE_HEIGHT_M = 0.012
_LEFT_M = 0.1  # over an item that was let go: far enough to judge whether it lies where it should
_RISING_REACH_M = 0.04  # how far ahead a carried item is drawn while it still rises


class Transfer:
    """Pick an item up and put it on or in something."""

    def __init__(self, goal: Goal) -> None:
        self._goal = goal
        item, self._support = goal.arguments
        self._pick = Pick(item)

    def act(self, world: World) -> tuple[Action, str]:
        """Pick, carry over the support, lower, let go."""
        item = self._pick.item
        holds, lateral = self._pick.holds(world), self._lateral_distance(world)
        tip = world.end_effector_position_world()
        release, yaw = self._release_position(world), self._yaw(world)
        if self._arrived(world):
            away = Pose(np.array([tip[0], tip[1], tip[2] + 0.08]), yaw)
            still_holding = world.in_contact(item, "gripper")
            return action_towards(world, Pose(tip, yaw) if still_holding else away, OPEN), "release"
        if not holds:
            return self._pick.act(world)
        if lateral < 0.02 and tip[2] < release[2] + _RELEASE_HEIGHT_M:
            return action_towards(world, Pose(release, yaw), OPEN), "release"
        return self._carry(world, release, lateral)

    def _carry(self, world: World, release: FloatArray, lateral: float) -> tuple[Action, str]:
        tip = world.end_effector_position_world()
        carry_m = max(release[2], self._tallest_m(world, release)) + _CLEARANCE_M
        turn = abs(nearest_equal_yaw(opening_yaw(world), np.pi, self._yaw(world)) - self._yaw(world))
        still_high = float(np.clip((lateral - 0.015) / 0.05 + max(0.0, turn - 0.3), 0.0, 1.0))
        height = release[2] + (carry_m - release[2]) * still_high
        target = np.array([release[0], release[1], height])
        lifted = float(np.clip(1.0 - (carry_m - tip[2] - 0.02) / 0.03, 0.0, 1.0))
        if lateral > 0.06 and lifted < 1.0:  # rise before travelling, so that nothing on the way is knocked over
            target[:2] = tip[:2] + lifted * _shortened(target[:2] - tip[:2], _RISING_REACH_M)
        return action_towards(world, Pose(target, self._yaw(world)), CLOSE), "lift" if lifted < 0.5 else "place"

    def _yaw(self, world: World) -> float:
        """Return the yaw to carry at; over a drawer the hand is across it, clear of the fronts of those above."""
        slides = [joint.axis_world for joint in world.joints(self._support) if not joint.turns]
        if not slides:
            return carried_yaw(world, self._pick.item)
        across = float(np.arctan2(slides[0][1], slides[0][0])) + np.pi / 2
        return nearest_equal_yaw(across, np.pi, NEUTRAL_YAW_RAD)

    def _lateral_distance(self, world: World) -> float:
        spot = free_spot(world, self._pick.item, self._support)
        return float(np.linalg.norm(world.position_world(self._pick.item)[:2] - spot))

    def _release_position(self, world: World) -> FloatArray:
        """End-effector position from which the item is let go."""
        item, support = world.geometry(self._pick.item), world.geometry(self._support)
        base = world.position_world(self._support)
        grip_m = world.end_effector_position_world()[2] - world.position_world(self._pick.item)[2] - item.bottom_m
        grip_m = float(np.clip(grip_m, 0.01, item.top_m - item.bottom_m))
        low = base[2] + support.support_m + grip_m + 0.006
        rim = base[2] + support.top_m + 0.012
        across = free_spot(world, self._pick.item, self._support) + self._grip_offset(world)
        return np.array([across[0], across[1], max(low, rim)])

    def _grip_offset(self, world: World) -> FloatArray:
        """Horizontal way from the item's centre to a grip on its rim, (2,)."""
        if world.geometry(self._pick.item).grasp_offset_m == 0:
            return np.zeros(2)
        offset: FloatArray = world.end_effector_position_world()[:2] - world.position_world(self._pick.item)[:2]
        return offset

    def _arrived(self, world: World) -> bool:
        """Whether the item lies where it should, so that only letting go and leaving remain."""
        item = self._pick.item
        placed = world.inside(item, self._support) or world.in_contact(item, self._support)
        offset = world.position_world(item) - world.position_world(self._support)
        near = bool(np.linalg.norm(offset[:2]) < world.geometry(self._support).support_radius_m)
        left_m = world.end_effector_position_world()[2] - world.position_world(item)[2]
        failed = left_m > _LEFT_M and not self._goal.holds(world)  # it hangs on a rim, say: to be taken again
        return placed and near and not failed and self._lowered(world)

    def _lowered(self, world: World) -> bool:
        item, base = world.geometry(self._pick.item), world.position_world(self._support)
        bottom = world.position_world(self._pick.item)[2] + item.bottom_m
        return bool(bottom < base[2] + max(world.geometry(self._support).support_m, 0.0) + 0.03)

    def _tallest_m(self, world: World, release: FloatArray) -> float:
        """Height that the end-effector must keep for the item to pass over what stands on the way."""
        item = self._pick.item
        top_m = height_over(world, world.end_effector_position_world(), release, frozenset({item}))
        geometry = world.geometry(item)
        return top_m + geometry.grasp_height_m - geometry.bottom_m - 0.03


skills.register(Transfer, name="on")
skills.register(Transfer, name="in")


def _shortened(vector: FloatArray, longest: float) -> FloatArray:
    length = float(np.linalg.norm(vector))
    return vector * min(1.0, longest / length) if length > 0 else vector
