"""Skills that pick, lift, hold and place items."""

import numpy as np

from vla_bench.core.types import FloatArray, Side, TwoArmWorld, World
from vla_bench.experts.grasps import NEUTRAL_YAW_RAD, carried_yaw, free_spot, grasp_pose, height_over, upright
from vla_bench.experts.motion import CLOSE, OPEN, Pose, action_towards, nearest_equal_yaw, opening_yaw
from vla_bench.experts.skills import Action, skills
from vla_bench.tasks.task import Goal

_HOVER_M = 0.10  # height above the grasp until the fingers are over the item
_FUNNEL_SLOPE = 4.0  # meters of height per meter of horizontal distance from the center
_CENTRED_M = 0.006
_AT_GRASP_M = 0.012
_AT_GRASP_YAW_RAD = 0.15
_TRAVEL_M = 0.06  # horizontal distance beyond which the fingers stay above all obstacles
_FINGER_CLEARANCE_M = 0.03  # clearance above obstacles at grasp height
_RISE_BLEND_M = 0.03  # missing height above which the gripper does not move horizontally
_EMPTY_M = 0.003  # finger distance below which nothing is held: thinner items are not picked up
_OPEN_AGAIN_SHARE = 0.75  # fraction of the opening, after the fingers closed on nothing
_STILL_M = 0.0006  # change of the finger distance per step below which the fingers have closed on something


class Grip:
    """Detector of fingers closed on an item, from two consecutive steps."""

    def __init__(self) -> None:
        self._last_opening_m = np.inf

    def holds(self, world: World, item: str) -> bool:
        """Return whether the item is between fingers that have stopped closing."""
        opening = world.gripper_opening_m()
        still = abs(opening - self._last_opening_m) < _STILL_M
        self._last_opening_m = opening
        raised = world.position_world(item)[2] > world.initial_position_world(item)[2] + 0.015
        return world.in_contact(item, "gripper") and (still or bool(raised)) and _around(world, item)


class Pick:
    """Grasp an item from above."""

    def __init__(self, item: str) -> None:
        self.item = item
        self._grip = Grip()
        self._missed = False

    def holds(self, world: World) -> bool:
        """Return whether the item is in the gripper; call once per step."""
        return self._grip.holds(world, self.item)

    def act(self, world: World) -> tuple[Action, str]:
        """Approach through a funnel above the item, then close."""
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
        """Return whether the fingers closed on nothing and have not reopened since."""
        opening = world.gripper_opening_m()
        empty = opening < _EMPTY_M and not world.in_contact(self.item, "gripper")
        self._missed = empty or (self._missed and opening < _OPEN_AGAIN_SHARE * world.gripper().opening_m)
        return self._missed

    def _over_what_stands(self, world: World, target: FloatArray) -> FloatArray:
        """Return the next target on the path to `target`: up first if a taller object is in between."""
        tip = world.end_effector_position_world()
        safe_m = height_over(world, tip, target, frozenset({self.item})) + _FINGER_CLEARANCE_M
        height = max(target[2], safe_m)
        risen = float(np.clip(1.0 - (safe_m - tip[2]) / _RISE_BLEND_M, 0.0, 1.0))
        return np.array([*(tip[:2] + risen * (target[:2] - tip[:2])), height])


def _around(world: World, item: str) -> bool:
    geometry = world.geometry(item)
    offset = world.end_effector_position_world() - world.position_world(item)
    off_grasp_m = abs(float(np.linalg.norm(offset[:2])) - geometry.grasp_offset_m)
    # height by which a rim is raised
    tilted_m = geometry.grasp_offset_m * np.sqrt(max(0.0, 1.0 - upright(world, item) ** 2))
    return bool(off_grasp_m < 0.03 and geometry.bottom_m - 0.02 < offset[2] < geometry.top_m + 0.01 + tilted_m)


def _yaw_error(world: World, yaw_rad: float) -> float:
    return nearest_equal_yaw(opening_yaw(world), np.pi, yaw_rad) - yaw_rad


_HELD_M = 0.03  # distance between fingers and item origin while the fingers slip along it


class Hold:
    """Detector of a held handle: fingers may be pushed apart or slip along it without losing it."""

    def __init__(self, item: str) -> None:
        self._item, self._grip, self._held = item, Grip(), False

    def holds(self, world: World) -> bool:
        """Return whether the item is held; call once per step."""
        firm = self._grip.holds(world, self._item)
        distance = np.linalg.norm(world.end_effector_position_world() - world.position_world(self._item))
        still_there = world.in_contact(self._item, "gripper") and distance < _HELD_M
        self._held = firm or bool(self._held and still_there)
        return self._held


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


_SIDES: tuple[Side, Side] = ("right", "left")  # in the order of the action
_RISE_M = 0.04  # target height of both grippers above the lower one
_LIFT_LEVEL_LIFT_M = 0.16  # above the start position of the handle
_CLOSING_M = 0.07  # a gripper with a smaller opening is already closing


@skills.named("lifted_level")
class LiftLevel:
    """Grasp `<item>_right_handle` and `<item>_left_handle` with the right and left gripper, then rise together."""

    def __init__(self, goal: Goal) -> None:
        (item,) = goal.arguments
        self._picks = {side: Pick(f"{item}_{side}_handle") for side in _SIDES}
        self._holds = {side: Hold(f"{item}_{side}_handle") for side in _SIDES}
        self._anchors: dict[Side, FloatArray] = {}  # gripper positions at the time of the grasp

    def act(self, world: World) -> tuple[Action, str]:
        """Pick with both grippers at once; the first one holds until the other has its handle."""
        assert isinstance(world, TwoArmWorld), "this goal needs a suite with two arms"
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
        """Grasp the handle, but only when the other gripper is ready: one alone would drag the item away."""
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
        """Hold the handle at its start height: a raised handle, as after a slip of the other gripper, is lowered."""
        anchor = self._anchors[side]
        height = min(anchor[2], arm.initial_position_world(self._picks[side].item)[2])
        return action_towards(arm, Pose(np.array([*anchor[:2], height]), opening_yaw(arm)), CLOSE), "grasp"


_CLEARANCE_M = 0.05  # between a carried item and the objects below its path
_RELEASE_HEIGHT_M = 0.012
_LEFT_M = 0.1  # height above a released item at which its final position can be judged
_RISING_REACH_M = 0.04  # lead of the target while a carried item still rises


class Transfer:
    """Pick up an item and place it on or in a support."""

    def __init__(self, goal: Goal) -> None:
        self._goal = goal
        item, self._support = goal.arguments
        self._pick = Pick(item)

    def act(self, world: World) -> tuple[Action, str]:
        """Pick, carry above the support, lower and release."""
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
        if lateral > 0.06 and lifted < 1.0:  # rise before moving horizontally, so that nothing is knocked over
            target[:2] = tip[:2] + lifted * _shortened(target[:2] - tip[:2], _RISING_REACH_M)
        return action_towards(world, Pose(target, self._yaw(world)), CLOSE), "lift" if lifted < 0.5 else "place"

    def _yaw(self, world: World) -> float:
        """Return the carrying yaw; above a drawer the hand is across it, clear of the fronts of higher drawers."""
        slides = [joint.axis_world for joint in world.joints(self._support) if not joint.turns]
        if not slides:
            return carried_yaw(world, self._pick.item)
        across = float(np.arctan2(slides[0][1], slides[0][0])) + np.pi / 2
        return nearest_equal_yaw(across, np.pi, NEUTRAL_YAW_RAD)

    def _lateral_distance(self, world: World) -> float:
        spot = free_spot(world, self._pick.item, self._support)
        return float(np.linalg.norm(world.position_world(self._pick.item)[:2] - spot))

    def _release_position(self, world: World) -> FloatArray:
        """Return the end-effector position for releasing the item."""
        item, support = world.geometry(self._pick.item), world.geometry(self._support)
        base = world.position_world(self._support)
        grip_m = world.end_effector_position_world()[2] - world.position_world(self._pick.item)[2] - item.bottom_m
        grip_m = float(np.clip(grip_m, 0.01, item.top_m - item.bottom_m))
        low = base[2] + support.support_m + grip_m + 0.006
        rim = base[2] + support.top_m + 0.012
        across = free_spot(world, self._pick.item, self._support) + self._grip_offset(world)
        return np.array([across[0], across[1], max(low, rim)])

    def _grip_offset(self, world: World) -> FloatArray:
        """Return the horizontal vector from the item center to a rim grasp, (2,)."""
        if world.geometry(self._pick.item).grasp_offset_m == 0:
            return np.zeros(2)
        offset: FloatArray = world.end_effector_position_world()[:2] - world.position_world(self._pick.item)[:2]
        return offset

    def _arrived(self, world: World) -> bool:
        """Return whether the item is in place, so that only release and retreat remain."""
        item = self._pick.item
        placed = world.inside(item, self._support) or world.in_contact(item, self._support)
        offset = world.position_world(item) - world.position_world(self._support)
        near = bool(np.linalg.norm(offset[:2]) < world.geometry(self._support).support_radius_m)
        left_m = world.end_effector_position_world()[2] - world.position_world(item)[2]
        failed = left_m > _LEFT_M and not self._goal.holds(world)  # for example hanging on a rim: grasp it again
        return placed and near and not failed and self._lowered(world)

    def _lowered(self, world: World) -> bool:
        item, base = world.geometry(self._pick.item), world.position_world(self._support)
        bottom = world.position_world(self._pick.item)[2] + item.bottom_m
        return bool(bottom < base[2] + max(world.geometry(self._support).support_m, 0.0) + 0.03)

    def _tallest_m(self, world: World, release: FloatArray) -> float:
        """Return the end-effector height at which the item clears all obstacles on its path."""
        item = self._pick.item
        top_m = height_over(world, world.end_effector_position_world(), release, frozenset({item}))
        geometry = world.geometry(item)
        return top_m + geometry.grasp_height_m - geometry.bottom_m - 0.03


skills.register(Transfer, name="on")
skills.register(Transfer, name="in")


def _shortened(vector: FloatArray, longest: float) -> FloatArray:
    length = float(np.linalg.norm(vector))
    return vector * min(1.0, longest / length) if length > 0 else vector
