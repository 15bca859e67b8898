"""Skill that lowers a ring over a peg."""

import numpy as np

from vla_bench.core.geometry import yaw_of
from vla_bench.core.types import FloatArray, World
from vla_bench.experts.grasps import NEUTRAL_YAW_RAD
from vla_bench.experts.motion import CLOSE, OPEN, Pose, action_towards, centered_modulo
from vla_bench.experts.skills import Action, skills
from vla_bench.experts.skills.pick_and_place import Pick
from vla_bench.tasks.task import Goal

_HOVER_M = 0.035  # height of the ring above the peg top until it is aligned
_CENTRED_M = 0.005  # for a peg with edges
_CENTRED_OVER_ROUND_M = 0.009  # the arm is nearly stretched there and stops a few millimeters short
_SLACK_ONCE_LOWER = 1.5  # factor of these tolerances while the ring is moving down
_ALIGNED_RAD = 0.06
_THREADED_M = 0.012  # depth below the top at which the peg guides the ring
_LET_GO_M = 0.045  # depth below the top at which the released ring falls into place
_WIDE_TURN_RAD = np.pi / 2  # yaw from neutral beyond which the wrist is near its limit


@skills.named("around")
class Thread:
    """Grasp a ring by its handle and lower it over a peg.

    The handle is the item `<ring>_handle`, its bar along the x axis of the ring.
    """

    def __init__(self, goal: Goal) -> None:
        self._ring, self._peg = goal.arguments
        self._pick = Pick(f"{self._ring}_handle")

    def act(self, world: World) -> tuple[Action, str]:
        """Pick, carry above the peg, align the yaw with the peg, lower and release."""
        holds = self._pick.holds(world)
        offset = world.position_world(self._ring) - world.position_world(self._peg)
        lateral = float(np.linalg.norm(offset[:2]))
        threaded = lateral < 2 * _THREADED_M and offset[2] < -_THREADED_M
        if threaded and offset[2] < -_LET_GO_M:
            return self._release(world)
        if not holds:
            return self._pick.act(world)
        turn = self._turn(world)
        slack = 1.0 if offset[2] > 0.6 * _HOVER_M else _SLACK_ONCE_LOWER
        in_place = lateral < slack * self._centred_m(world) and abs(turn) < _ALIGNED_RAD
        height = -_LET_GO_M - 0.03 if threaded or in_place else _HOVER_M
        far = lateral > 0.05
        if far and offset[2] < 0.5 * _HOVER_M:  # rise first, so that the ring does not meet the peg from the side
            return action_towards(world, self._gripper_pose(world, offset[:2], _HOVER_M, 0.0), CLOSE), "lift"
        return action_towards(world, self._gripper_pose(world, np.zeros(2), height, turn), CLOSE), "place"

    def _centred_m(self, world: World) -> float:
        round_peg = world.geometry(self._peg).grasp_yaw_symmetry_rad <= 0
        return _CENTRED_OVER_ROUND_M if round_peg else _CENTRED_M

    def _gripper_pose(self, world: World, lateral_m: FloatArray, height_m: float, turn_rad: float) -> Pose:
        """Return the gripper pose for a ring at this offset from the peg top and this rotation."""
        grip = world.end_effector_position_world() - world.position_world(self._ring)
        cosine, sine = np.cos(turn_rad), np.sin(turn_rad)
        grip = np.array([cosine * grip[0] - sine * grip[1], sine * grip[0] + cosine * grip[1], grip[2]])
        ring = world.position_world(self._peg) + np.array([*lateral_m, height_m])
        return Pose(ring + grip, _gripper_yaw(world) + turn_rad)

    def _turn(self, world: World) -> float:
        """Return the rotation of the ring that fits the peg and keeps the wrist away from its limits [rad]."""
        ring, gripper = yaw_of(world.quat_wxyz_world(self._ring)), _gripper_yaw(world)
        symmetry = world.geometry(self._peg).grasp_yaw_symmetry_rad
        wanted = ring + centered_modulo(np.pi - ring, 2 * np.pi)  # the handle towards the robot
        if symmetry <= 0:
            beyond = abs(wanted - ring) - _WIDE_TURN_RAD
            return float(np.sign(wanted - ring)) * max(0.0, beyond)
        turns = [centered_modulo(wanted + quarter * symmetry - ring, 2 * np.pi) for quarter in (-1, 0, 1)]
        ends = [abs(centered_modulo(gripper + turn - NEUTRAL_YAW_RAD, 2 * np.pi)) for turn in turns]
        return min(zip(np.round(ends, 1), np.abs(turns), turns, strict=True))[2]

    def _release(self, world: World) -> tuple[Action, str]:
        tip = world.end_effector_position_world()
        held = world.in_contact(self._pick.item, "gripper")
        up = np.zeros(3) if held else np.array([0.0, 0.0, 0.08])
        return action_towards(world, Pose(tip + up, _gripper_yaw(world)), OPEN), "release"


def _gripper_yaw(world: World) -> float:
    return yaw_of(world.end_effector_quat_wxyz_world())
