"""Open and close drawers by their handles."""

import numpy as np

from vla_bench.core.types import FloatArray, World
from vla_bench.experts.motion import CLOSE, OPEN, Pose, action_towards, rotation_error_rad
from vla_bench.experts.skills.handle import HandleGrip, handle_to_leave, joint_to_move
from vla_bench.experts.skills.skill import Action, skills
from vla_bench.tasks.task import Goal

_TILT_RAD = np.radians(55.0)  # forward from straight down: below the handles of higher drawers, over the table
_STANDOFF_M = 0.09  # before the handle, while the fingers turn towards it
_STANDOFF_UP_M = 0.03
_ALIGNED_M, _ALIGNED_RAD = 0.012, 0.2  # beside the way to the handle, and of the orientation
_AT_HANDLE_M = 0.012
_LEAD_M = 0.07  # how far ahead the handle is drawn


class MoveDrawer:
    """Take a drawer's handle and draw it along the drawer's axis, `direction` 1 out, -1 in."""

    direction = 1.0

    def __init__(self, goal: Goal) -> None:
        (self._fixture,) = goal.arguments
        self._grip = HandleGrip()

    def act(self, world: World) -> tuple[Action, str]:
        """Turn towards the handle, take it, draw."""
        joint = joint_to_move(world, self._fixture, self.direction)
        handle, out = joint.handle_position_world, joint.axis_world
        pose = Pose(handle, float(np.arctan2(out[0], -out[1])), _TILT_RAD)
        if self._grip.holds(world, joint):
            pose = Pose(handle + self.direction * _LEAD_M * out, pose.yaw_rad, _TILT_RAD)
            return action_towards(world, pose, CLOSE), "operate"
        if np.linalg.norm(world.end_effector_position_world() - handle) < _AT_HANDLE_M:
            return action_towards(world, pose, CLOSE), "grasp"
        left = handle_to_leave(world, joint)
        if left is not None:
            away = world.end_effector_position_world() + _STANDOFF_M * left.axis_world
            return action_towards(world, Pose(away, pose.yaw_rad, _TILT_RAD), OPEN), "release"
        return action_towards(world, self._approach(world, pose, out), OPEN), "reach"

    def _approach(self, world: World, pose: Pose, out: FloatArray) -> Pose:
        """Return where to go next: in front of the handle while not yet in line with it, then along the line."""
        offset = world.end_effector_position_world() - pose.position_world
        along_m = float(offset @ out)
        beside_m = float(np.linalg.norm(offset - along_m * out))
        ready = rotation_error_rad(world, pose) < _ALIGNED_RAD and along_m > -0.02
        if ready and beside_m < _ALIGNED_M + 0.3 * max(0.0, along_m):
            return pose
        standoff = _STANDOFF_M * out + np.array([0.0, 0.0, _STANDOFF_UP_M])
        return Pose(pose.position_world + standoff, pose.yaw_rad, pose.tilt_rad)


@skills.named("open")
class OpenDrawer(MoveDrawer):
    """Pull a drawer open."""


@skills.named("closed")
class CloseDrawer(MoveDrawer):
    """Push a drawer shut."""

    direction = -1.0
