"""Skills that pick, lift, hold and place items."""

import numpy as np

from vla_bench.core.types import FloatArray, Side, TwoArmWorld, World
from vla_bench.experts.grasps import NEUTRAL_YAW_RAD, carried_yaw, free_spot, grasp_pose, height_over, upright
from vla_bench.experts.motion import CLOSE, OPEN, Pose, action_towards, nearest_equal_yaw, opening_yaw
from vla_bench.experts.skills import Action, skills
from vla_bench.tasks.task import Goal

# ~ Take an item from above: the first part of many skills.

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


# ~ A grip that, once firm, lasts for as long as the fingers are where the item is.

_HELD_M = 0.03  # between the fingers and the item's origin, while the fingers slip along it


class Hold:
    """Whether the fingers have a handle: they may be pushed apart or slip along it, and still have it."""

    def __init__(self, item: str) -> None:
        self._item, self._grip, self._held = item, Grip(), False

    def holds(self, world: World) -> bool:
        """Whether the item is held; to be asked once a step."""
        firm = self._grip.holds(world, self._item)
        distance = np.linalg.norm(world.end_effector_position_world() - world.position_world(self._item))
        still_there = world.in_contact(self._item, "gripper") and distance < _HELD_M
        self._held = firm or bool(self._held and still_there)
        return self._held


# ~ Pick an item up and hold it.

_LIFT_M = 0.12


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
        return action_towards(world, Pose(target, carried_yaw(world, self._pick.item)), CLOSE), "lift"


# ~ Lift one thing with two arms, by a handle each.

_SIDES: tuple[Side, Side] = ("right", "left")  # in the order of the action
_RISE_M = 0.04  # how far above the lower hand both are drawn
_LIFT_LEVEL_LIFT_M = 0.16  # above where the handle stood
_CLOSING_M = 0.07  # a gripper open less than this is already closing


@skills.named("lifted_level")
class LiftLevel:
    """Take `<item>_right_handle` with the right hand and `<item>_left_handle` with the left one, then rise together."""

    def __init__(self, goal: Goal) -> None:
        (item,) = goal.arguments
        self._picks = {side: Pick(f"{item}_{side}_handle") for side in _SIDES}
        self._holds = {side: Hold(f"{item}_{side}_handle") for side in _SIDES}
        self._anchors: dict[Side, FloatArray] = {}  # where a hand was when it got hold of its handle

    def act(self, world: World) -> tuple[Action, str]:
        """Pick with both hands at once; a hand that has its handle waits for the other."""
        assert isinstance(world, TwoArmWorld), "a suite with this goal has two arms"
        arms = {side: world.arm(side) for side in _SIDES}
        held = [side for side, hold in self._holds.items() if hold.holds(arms[side])]
        tips = {side: arms[side].end_effector_position_world().copy() for side in held}
        self._anchors = {side: self._anchors.get(side, tip) for side, tip in tips.items()}
        if len(held) == len(_SIDES):
            return self._rise(arms), "lift"
        moves = {side: self._wait(arms[side], side) if side in held else self._pick(arms, side) for side in _SIDES}
        phase = next(phase for side, (_, phase) in moves.items() if side not in held)
        return np.concatenate([action for action, _ in moves.values()]), phase

    def _pick(self, arms: dict[Side, World], side: Side) -> tuple[Action, str]:
        """Take the handle, but not before the other hand is ready: one hand alone would drag the thing away."""
        action, phase = self._picks[side].act(arms[side])
        other = next(one for one in _SIDES if one != side)
        ready = other in self._anchors or self._picks[other].act(arms[other])[1] == "grasp"
        if not ready and arms[side].gripper_opening_m() > _CLOSING_M:
            action[-1] = OPEN
        return action, phase

    def _rise(self, arms: dict[Side, World]) -> Action:
        lowest_m = min(arm.end_effector_position_world()[2] for arm in arms.values())
        actions = []
        for side, arm in arms.items():
            tip, handle = arm.end_effector_position_world(), self._picks[side].item
            height = min(lowest_m + _RISE_M, arm.initial_position_world(handle)[2] + _LIFT_LEVEL_LIFT_M)
            actions.append(action_towards(arm, Pose(np.array([*tip[:2], height]), opening_yaw(arm)), CLOSE))
        return np.concatenate(actions)

    def _wait(self, arm: World, side: Side) -> tuple[Action, str]:
        """Hold the handle where it stood: one that is up in the air, as after a slip of the other hand, comes down."""
        anchor = self._anchors[side]
        height = min(anchor[2], arm.initial_position_world(self._picks[side].item)[2])
        return action_towards(arm, Pose(np.array([*anchor[:2], height]), opening_yaw(arm)), CLOSE), "grasp"


# ~ Pick an item up and put it on or in something.

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
