"""Leave what has been done: open the gripper and rise over everything near it."""

import numpy as np

from vla_bench.core.types import World
from vla_bench.experts.motion import OPEN, Pose, action_towards, nearest_equal_yaw, opening_yaw
from vla_bench.experts.skills import Action

_RISE_M = 0.09  # at least
_STEPS = 15  # after which the way up is given up, whatever is in the way
_REFERENCE_YAW_RAD = np.pi / 2


class Retreat:
    """Straight up from where the gripper is, at the yaw that it has."""

    def __init__(self, world: World) -> None:
        tip = world.end_effector_position_world()
        yaw = nearest_equal_yaw(opening_yaw(world), np.pi, _REFERENCE_YAW_RAD)
        self._target = Pose(tip + np.array([0.0, 0.0, _RISE_M]), yaw)
        self._steps_left = _STEPS

    def is_over(self, world: World) -> bool:
        """Whether the gripper is high enough."""
        risen = world.end_effector_position_world()[2] > self._target.position_world[2] - 0.02
        return bool(risen) or self._steps_left == 0

    def act(self, world: World) -> tuple[Action, str]:
        """Rise."""
        self._steps_left -= 1
        return action_towards(world, self._target, OPEN), "release"
