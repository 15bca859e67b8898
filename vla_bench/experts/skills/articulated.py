"""Skills for drawers, buttons, knobs and latched doors."""

import numpy as np

from vla_bench.core.geometry import axis_angle_to_quat_wxyz, quat_wxyz_to_matrix
from vla_bench.core.types import FloatArray, Joint, World
from vla_bench.experts.grasps import NEUTRAL_YAW_RAD
from vla_bench.experts.motion import (
    CLOSE,
    OPEN,
    Pose,
    action_towards,
    action_towards_frame,
    nearest_equal_yaw,
    rotation_error_rad,
    rotation_left,
)
from vla_bench.experts.skills import Action, skills
from vla_bench.experts.skills.pick_and_place import Hold
from vla_bench.tasks.task import Goal

_STILL_M = 0.0006  # change of the finger distance per step below which the fingers have closed on something
_NEAR_M = 0.03
_ABOUT_M = 0.055  # less than the distance between two handles


def joint_to_move(world: World, fixture: str, direction: float) -> Joint:
    """Return the joint of `fixture` to move next, `direction` 1 open or on, -1 closed or off.

    It is the first that is not in position yet, lower handles first to open and higher ones first to close, so that
    open drawers never cover a handle that is still needed.
    """
    joints = sorted(world.joints(fixture), key=lambda joint: direction * float(joint.handle_position_world[2]))
    return next((joint for joint in joints if not _is_there(joint, direction)), joints[-1])


def handle_to_leave(world: World, but: Joint) -> Joint | None:
    """Return another drawer whose handle is still between the fingers, which would be moved by them."""
    tip = world.end_effector_position_world()
    for item in world.items():
        for joint in world.joints(item):
            about = np.linalg.norm(tip - joint.handle_position_world) < _ABOUT_M
            if about and not joint.turns and joint.name != but.name:
                return joint
    return None


class HandleGrip:
    """Detector of fingers closed on the handle of a joint, from two consecutive steps."""

    def __init__(self) -> None:
        self._last_opening_m, self._held = np.inf, False

    def holds(self, world: World, joint: Joint) -> bool:
        """Return whether the handle is between stopped fingers and has not been lost since.

        Call once per step.
        """
        opening = world.gripper_opening_m()
        still = abs(opening - self._last_opening_m) < _STILL_M
        self._last_opening_m = opening
        near = np.linalg.norm(world.end_effector_position_world() - joint.handle_position_world) < _NEAR_M
        self._held = bool(near) and (still or self._held) and world.in_contact(joint.name, "gripper")
        return self._held


def _is_there(joint: Joint, direction: float) -> bool:
    return joint.position >= joint.open_from if direction > 0 else joint.position < joint.closed_below


_TILT_RAD = np.radians(55.0)  # forward tilt from straight down: below the handles of higher drawers, above the table
_STANDOFF_M = 0.09  # distance before the handle while the fingers turn towards it
_STANDOFF_UP_M = 0.03
_ALIGNED_M, _ALIGNED_RAD = 0.012, 0.2  # tolerance of position and orientation on the way to the handle
_AT_HANDLE_M = 0.012
_LEAD_M = 0.07  # lead of the target ahead of the handle


class MoveDrawer:
    """Grasp the handle of a drawer and move it along the drawer axis, `direction` 1 out, -1 in."""

    direction = 1.0

    def __init__(self, goal: Goal) -> None:
        (self._fixture,) = goal.arguments
        self._grip = HandleGrip()

    def act(self, world: World) -> tuple[Action, str]:
        """Turn towards the handle, grasp it and pull or push."""
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
        """Return the next target: in front of the handle until aligned with it, then along the line."""
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


_HOVER_M = 0.05  # height of the fingertips above the button until they are over it
_CENTRED_M = 0.016  # offset from the button center at which closed fingers still press it
_DEPTH_M = 0.03  # target depth below the button top while pressing


@skills.named("pressed")
class Press:
    """Press a button and keep it down."""

    def __init__(self, goal: Goal) -> None:
        (self._fixture,) = goal.arguments

    def act(self, world: World) -> tuple[Action, str]:
        """Move above the button with closed fingers, then down."""
        button = joint_to_move(world, self._fixture, direction=1.0)
        target = button.handle_position_world + np.array([0.0, 0.0, world.gripper().fingertip_m])
        lateral = float(np.linalg.norm((world.end_effector_position_world() - target)[:2]))
        presses = lateral < _CENTRED_M
        target[2] += -_DEPTH_M if presses else _HOVER_M
        return action_towards(world, Pose(target, NEUTRAL_YAW_RAD), CLOSE), "operate" if presses else "reach"


_TURN_HOVER_M = 0.06
_FUNNEL_SLOPE = 4.0  # meters of height per meter of horizontal distance from the center
_TURN_CENTRED_M, _TURN_AT_HANDLE_M, _AT_HANDLE_RAD = 0.006, 0.012, 0.25
_LEAD_RAD = 0.5  # lead of the target angle


class TurnKnob:
    """Grasp a knob from above and turn it, `direction` 1 on, -1 off."""

    direction = 1.0

    def __init__(self, goal: Goal) -> None:
        (self._fixture,) = goal.arguments
        self._grip = HandleGrip()

    def act(self, world: World) -> tuple[Action, str]:
        """Descend over the knob, grasp it and turn."""
        joint = joint_to_move(world, self._fixture, self.direction)
        handle = joint.handle_position_world
        pose = Pose(handle, _yaw_across(joint))
        if self._grip.holds(world, joint):
            ahead = self.direction * _LEAD_RAD * float(np.sign(joint.axis_world[2]))
            return action_towards(world, Pose(handle, pose.yaw_rad + ahead), CLOSE), "operate"
        offset = world.end_effector_position_world() - handle
        lateral, turn = float(np.linalg.norm(offset[:2])), rotation_error_rad(world, pose)
        if lateral < _TURN_AT_HANDLE_M and abs(offset[2]) < _TURN_AT_HANDLE_M and turn < _AT_HANDLE_RAD:
            return action_towards(world, pose, CLOSE), "grasp"
        height = min(_TURN_HOVER_M, _FUNNEL_SLOPE * max(0.0, lateral - _TURN_CENTRED_M) + 0.3 * max(0.0, turn - 0.2))
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


_STAND_OFF_M = 0.10  # distance before the handle until the fingers are aligned with it
_UNLATCH_FUNNEL_SLOPE = 4.0  # meters before the handle per meter of lateral offset
_IN_LINE_M = 0.006
_IN_LINE_RAD = 0.10
_AT_GRASP_M = 0.015
_AT_GRASP_RAD = 0.2
_UNLATCHED_RAD = 1.3  # the latch tip is clear of the frame
_AJAR_RAD = 0.06  # the latch tip is past the frame and the handle may return
_UNLATCH_LEAD_RAD = 0.35  # lead of the target ahead of the joint position


@skills.named("unlatched_open")
class Unlatch:
    """Grasp the handle of `door` from the front, turn it and pull. The handle bar is the item `<door>_handle`."""

    def __init__(self, goal: Goal) -> None:
        (self._door,) = goal.arguments
        self._hold = Hold(f"{self._door}_handle")

    def act(self, world: World) -> tuple[Action, str]:
        """Reach, close, turn the handle down, then pull along the arc of the door."""
        joints = {joint.name: joint for joint in world.joints(self._door)}
        hinge, latch = joints["hinge"], joints["latch"]
        if not self._hold.holds(world):
            return self._grasp(world, latch)
        position, frame = latch.handle_position_world, _grasp_frame(latch)
        if hinge.position < _AJAR_RAD:
            position, frame = _carried(
                latch, position, frame, min(_UNLATCH_LEAD_RAD, _UNLATCHED_RAD + 0.1 - latch.position)
            )
        if hinge.position >= _AJAR_RAD or latch.position > _UNLATCHED_RAD:
            position, frame = _carried(hinge, position, frame, _UNLATCH_LEAD_RAD)
            return action_towards_frame(world, position, frame, CLOSE), "pull"
        return action_towards_frame(world, position, frame, CLOSE), "turn"

    def _grasp(self, world: World, latch: Joint) -> tuple[Action, str]:
        """Approach in a funnel before the handle, then close."""
        frame, position = _grasp_frame(latch), latch.handle_position_world
        ahead = frame[:, 2]
        offset = world.end_effector_position_world() - position
        lateral = float(np.linalg.norm(offset - (offset @ ahead) * ahead))
        turned = float(np.linalg.norm(rotation_left(world, frame)))
        if np.linalg.norm(offset) < _AT_GRASP_M and turned < _AT_GRASP_RAD:
            return action_towards_frame(world, position, frame, CLOSE), "grasp"
        distance = _UNLATCH_FUNNEL_SLOPE * max(0.0, lateral - _IN_LINE_M) + 0.5 * max(0.0, turned - _IN_LINE_RAD)
        return action_towards_frame(world, position - min(_STAND_OFF_M, distance) * ahead, frame, OPEN), "reach"


def _grasp_frame(latch: Joint) -> FloatArray:
    """Return the gripper orientation (3, 3) with the fingers pointing at the door and closing across the bar."""
    ahead = latch.axis_world
    across = np.cross(ahead, latch.handle_along_world)
    across /= np.linalg.norm(across)
    return np.stack([across, np.cross(ahead, across), ahead], axis=1)


def _carried(joint: Joint, position: FloatArray, frame: FloatArray, angle_rad: float) -> tuple[FloatArray, FloatArray]:
    """Return position and orientation after the joint turns by another `angle_rad`."""
    turn = quat_wxyz_to_matrix(axis_angle_to_quat_wxyz(angle_rad * joint.axis_world))
    return joint.anchor_world + turn @ (position - joint.anchor_world), turn @ frame
