"""Press buttons from above with closed fingers."""

import numpy as np

from vla_bench.core.types import World
from vla_bench.experts.grasps import NEUTRAL_YAW_RAD
from vla_bench.experts.motion import CLOSE, Pose, action_towards
from vla_bench.experts.skills.handle import joint_to_move
from vla_bench.experts.skills.skill import Action, skills
from vla_bench.tasks.task import Goal

_HOVER_M = 0.05  # of the fingertips over the button, while they are not yet above it
_CENTRED_M = 0.016  # off the button's centre, where closed fingers still press it
_DEPTH_M = 0.03  # below the button's top, where the fingers are drawn to while they press


@skills.named("pressed")
class Press:
    """Press a button and keep it down."""

    def __init__(self, goal: Goal) -> None:
        (self._fixture,) = goal.arguments

    def act(self, world: World) -> tuple[Action, str]:
        """Go over the button with closed fingers, then down."""
        button = joint_to_move(world, self._fixture, direction=1.0)
        target = button.handle_position_world + np.array([0.0, 0.0, world.gripper().fingertip_m])
        lateral = float(np.linalg.norm((world.end_effector_position_world() - target)[:2]))
        presses = lateral < _CENTRED_M
        target[2] += -_DEPTH_M if presses else _HOVER_M
        return action_towards(world, Pose(target, NEUTRAL_YAW_RAD), CLOSE), "operate" if presses else "reach"
