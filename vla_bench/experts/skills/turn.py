"""Turn knobs whose axis is vertical."""

import numpy as np

from vla_bench.core.types import Joint, World
from vla_bench.experts.grasps import NEUTRAL_YAW_RAD
from vla_bench.experts.motion import CLOSE, OPEN, Pose, action_towards, nearest_equal_yaw, rotation_error_rad
from vla_bench.experts.skills.handle import HandleGrip, joint_to_move
from vla_bench.experts.skills.skill import Action, skills
from vla_bench.tasks.task import Goal

_HOVER_M = 0.06
_FUNNEL_SLOPE = 4.0  # metres of height kept for each metre of horizontal distance beyond the centre
_CENTRED_M, _AT_HANDLE_M, _AT_HANDLE_RAD = 0.006, 0.012, 0.25
_LEAD_RAD = 0.5  # how far ahead the knob is turned


class TurnKnob:
    """Take a knob from above and turn it, `direction` 1 on, -1 off."""

    direction = 1.0

    def __init__(self, goal: Goal) -> None:
        (self._fixture,) = goal.arguments
        self._grip = HandleGrip()

    def act(self, world: World) -> tuple[Action, str]:
        """Descend over the knob, take it, turn."""
        joint = joint_to_move(world, self._fixture, self.direction)
        handle = joint.handle_position_world
        pose = Pose(handle, _yaw_across(joint))
        if self._grip.holds(world, joint):
            ahead = self.direction * _LEAD_RAD * float(np.sign(joint.axis_world[2]))
            return action_towards(world, Pose(handle, pose.yaw_rad + ahead), CLOSE), "operate"
        offset = world.end_effector_position_world() - handle
        lateral, turn = float(np.linalg.norm(offset[:2])), rotation_error_rad(world, pose)
        if lateral < _AT_HANDLE_M and abs(offset[2]) < _AT_HANDLE_M and turn < _AT_HANDLE_RAD:
            return action_towards(world, pose, CLOSE), "grasp"
        height = min(_HOVER_M, _FUNNEL_SLOPE * max(0.0, lateral - _CENTRED_M) + 0.3 * max(0.0, turn - 0.2))
        above = Pose(handle + np.array([0.0, 0.0, height]), pose.yaw_rad)
        return action_towards(world, above, OPEN), "reach"


@skills.named("turned_on")
class TurnOn(TurnKnob):
    """Turn a knob on."""


@skills.named("turned_off")
class TurnOff(TurnKnob):
    """Turn a knob off."""

    direction = -1.0


def _yaw_across(joint: Joint) -> float:
    along = joint.handle_along_world
    return nearest_equal_yaw(float(np.arctan2(along[1], along[0])) + np.pi / 2, np.pi, NEUTRAL_YAW_RAD)
