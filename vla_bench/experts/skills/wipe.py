"""Wipe dirt away with a flat tool, from one remaining spot to the next nearest."""

import numpy as np

from vla_bench.core.rotations import quat_wxyz_to_matrix
from vla_bench.core.types import DirtyWorld, FloatArray, World
from vla_bench.experts.motion import CLOSE, action_towards_frame
from vla_bench.experts.skills.skill import Action, skills
from vla_bench.tasks.task import Goal

_PRESS_M = 0.015  # how far below the surface the tool is drawn: the arm gives way
_HOVER_M = 0.05
_NEAR_M = 0.04  # a spot at this distance is reached by sliding, a farther one only once the tool is down
_OVERSHOOT_M = 0.02  # beyond the spot, so that the tool does not creep up to it


@skills.named("wiped")
class Wipe:
    """Press the tool flat onto the surface and draw it over the dirt."""

    def __init__(self, goal: Goal) -> None:
        (self._dirt,) = goal.arguments
        self._flat: FloatArray | None = None

    def act(self, world: World) -> tuple[Action, str]:
        """Go to the nearest spot that is left, pressing once there."""
        assert isinstance(world, DirtyWorld), "the goal's predicate has seen to it"
        tool = world.end_effector_position_world()
        if self._flat is None:
            self._flat = _flattened(quat_wxyz_to_matrix(world.end_effector_quat_wxyz_world()))
        spots = world.dirt_world(self._dirt)
        surface_m = world.position_world(self._dirt)[2]
        if len(spots) == 0:
            return action_towards_frame(world, tool + np.array([0.0, 0.0, _HOVER_M]), self._flat, CLOSE), "rise"
        offset = spots[:, :2] - tool[:2]
        nearest = offset[int(np.argmin(np.linalg.norm(offset, axis=1)))]
        distance = float(np.linalg.norm(nearest))
        down = tool[2] < surface_m + 0.01
        height = -_PRESS_M if down or distance < _NEAR_M else _HOVER_M
        ahead = nearest * (1.0 + _OVERSHOOT_M / max(distance, _OVERSHOOT_M)) if down else nearest
        target = np.array([*(tool[:2] + ahead), surface_m + height])
        return action_towards_frame(world, target, self._flat, CLOSE), "wipe" if down else "reach"


def _flattened(matrix: FloatArray) -> FloatArray:
    """Return the orientation (3, 3) that points straight down and keeps the horizontal direction of the x axis."""
    down = np.array([0.0, 0.0, -1.0])
    x_axis = np.array([matrix[0, 0], matrix[1, 0], 0.0])
    x_axis /= np.linalg.norm(x_axis)
    return np.stack([x_axis, np.cross(down, x_axis), down], axis=1)
