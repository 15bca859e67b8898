"""Turn the handle of a latched door and pull the door open."""

import numpy as np

from vla_bench.core.rotations import axis_angle_to_quat_wxyz, quat_wxyz_to_matrix
from vla_bench.core.types import FloatArray, Joint, World
from vla_bench.experts.motion import CLOSE, OPEN, action_towards_frame, rotation_left
from vla_bench.experts.skills.hold import Hold
from vla_bench.experts.skills.skill import Action, skills
from vla_bench.tasks.task import Goal

_STAND_OFF_M = 0.10  # before the handle, while the fingers are not yet in line with it
_FUNNEL_SLOPE = 4.0  # metres kept before the handle for each metre beside it
_IN_LINE_M = 0.006
_IN_LINE_RAD = 0.10
_AT_GRASP_M = 0.015
_AT_GRASP_RAD = 0.2
_UNLATCHED_RAD = 1.3  # the latch's tip is clear of the frame
_AJAR_RAD = 0.06  # the latch's tip is past the frame, and the handle may come up again
_LEAD_RAD = 0.35  # how far ahead of a joint's position its hand is drawn


@skills.named("unlatched_open")
class Unlatch:
    """Take the handle of `door` from the front, turn it, pull. The handle's bar is the item `<door>_handle`."""

    def __init__(self, goal: Goal) -> None:
        (self._door,) = goal.arguments
        self._hold = Hold(f"{self._door}_handle")

    def act(self, world: World) -> tuple[Action, str]:
        """Reach, close, turn the handle down, then pull along the door's arc."""
        joints = {joint.name: joint for joint in world.joints(self._door)}
        hinge, latch = joints["hinge"], joints["latch"]
        if not self._hold.holds(world):
            return self._grasp(world, latch)
        position, frame = latch.handle_position_world, _grasp_frame(latch)
        if hinge.position < _AJAR_RAD:
            position, frame = _carried(latch, position, frame, min(_LEAD_RAD, _UNLATCHED_RAD + 0.1 - latch.position))
        if hinge.position >= _AJAR_RAD or latch.position > _UNLATCHED_RAD:
            position, frame = _carried(hinge, position, frame, _LEAD_RAD)
            return action_towards_frame(world, position, frame, CLOSE), "pull"
        return action_towards_frame(world, position, frame, CLOSE), "turn"

    def _grasp(self, world: World, latch: Joint) -> tuple[Action, str]:
        """Approach in a funnel before the handle, then close."""
        frame, position = _grasp_frame(latch), latch.handle_position_world
        ahead = frame[:, 2]
        offset = world.end_effector_position_world() - position
        beside = float(np.linalg.norm(offset - (offset @ ahead) * ahead))
        turned = float(np.linalg.norm(rotation_left(world, frame)))
        if np.linalg.norm(offset) < _AT_GRASP_M and turned < _AT_GRASP_RAD:
            return action_towards_frame(world, position, frame, CLOSE), "grasp"
        kept = _FUNNEL_SLOPE * max(0.0, beside - _IN_LINE_M) + 0.5 * max(0.0, turned - _IN_LINE_RAD)
        return action_towards_frame(world, position - min(_STAND_OFF_M, kept) * ahead, frame, OPEN), "reach"


def _grasp_frame(latch: Joint) -> FloatArray:
    """Return the hand's orientation (3, 3) with the fingers pointing at the door and closing across the bar."""
    ahead = latch.axis_world
    across = np.cross(ahead, latch.handle_along_world)
    across /= np.linalg.norm(across)
    return np.stack([across, np.cross(ahead, across), ahead], axis=1)


def _carried(joint: Joint, position: FloatArray, frame: FloatArray, angle_rad: float) -> tuple[FloatArray, FloatArray]:
    """Return where position and orientation come to when the joint turns on by `angle_rad`."""
    turn = quat_wxyz_to_matrix(axis_angle_to_quat_wxyz(angle_rad * joint.axis_world))
    return joint.anchor_world + turn @ (position - joint.anchor_world), turn @ frame
