"""Lift one thing with two arms, by a handle each."""

import numpy as np

from vla_bench.core.types import FloatArray, Side, TwoArmWorld, World
from vla_bench.experts.motion import CLOSE, OPEN, Pose, action_towards, opening_yaw
from vla_bench.experts.skills.hold import Hold
from vla_bench.experts.skills.pick import Pick
from vla_bench.experts.skills.skill import Action, skills
from vla_bench.tasks.task import Goal

_SIDES: tuple[Side, Side] = ("right", "left")  # in the order of the action
_RISE_M = 0.04  # how far above the lower hand both are drawn
_LIFT_M = 0.16  # above where the handle stood
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
            height = min(lowest_m + _RISE_M, arm.initial_position_world(handle)[2] + _LIFT_M)
            actions.append(action_towards(arm, Pose(np.array([*tip[:2], height]), opening_yaw(arm)), CLOSE))
        return np.concatenate(actions)

    def _wait(self, arm: World, side: Side) -> tuple[Action, str]:
        """Hold the handle where it stood: one that is up in the air, as after a slip of the other hand, comes down."""
        anchor = self._anchors[side]
        height = min(anchor[2], arm.initial_position_world(self._picks[side].item)[2])
        return action_towards(arm, Pose(np.array([*anchor[:2], height]), opening_yaw(arm)), CLOSE), "grasp"
