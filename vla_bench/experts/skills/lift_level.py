"""Lift one thing with two arms, by a handle each."""

import numpy as np

from vla_bench.core.types import Side, TwoArmWorld, World
from vla_bench.experts.motion import CLOSE, Pose, action_towards, opening_yaw
from vla_bench.experts.skills.hold import Hold
from vla_bench.experts.skills.pick import Pick
from vla_bench.experts.skills.skill import Action, skills
from vla_bench.tasks.task import Goal

_SIDES: tuple[Side, Side] = ("right", "left")  # in the order of the action
_RISE_M = 0.04  # how far above the lower hand both are drawn
_LIFT_M = 0.16  # above where the handle stood


@skills.named("lifted_level")
class LiftLevel:
    """Take `<item>_right_handle` with the right hand and `<item>_left_handle` with the left one, then rise together."""

    def __init__(self, goal: Goal) -> None:
        (item,) = goal.arguments
        self._picks = {side: Pick(f"{item}_{side}_handle") for side in _SIDES}
        self._holds = {side: Hold(f"{item}_{side}_handle") for side in _SIDES}

    def act(self, world: World) -> tuple[Action, str]:
        """Pick with both hands; a hand that has its handle waits for the other."""
        assert isinstance(world, TwoArmWorld), "a suite with this goal has two arms"
        arms = {side: world.arm(side) for side in _SIDES}
        held = {side: hold.holds(arms[side]) for side, hold in self._holds.items()}
        if all(held.values()):
            return self._rise(arms), "lift"
        moves = [self._wait(arms[side], side) if held[side] else self._picks[side].act(arms[side]) for side in _SIDES]
        phase = next(phase for (_, phase), side in zip(moves, _SIDES, strict=True) if not held[side])
        return np.concatenate([action for action, _ in moves]), phase

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
        tip = arm.end_effector_position_world()
        height = min(tip[2], arm.initial_position_world(self._picks[side].item)[2])
        return action_towards(arm, Pose(np.array([*tip[:2], height]), opening_yaw(arm)), CLOSE), "grasp"
