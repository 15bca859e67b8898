"""Skill that lowers a ring over a peg."""

import numpy as np

from vla_bench.core.geometry import yaw_of
from vla_bench.core.types import FloatArray, World
from vla_bench.experts.grasps import NEUTRAL_YAW_RAD
from vla_bench.experts.motion import CLOSE, OPEN, Pose, action_towards
from vla_bench.experts.skills import Action, skills
from vla_bench.experts.skills.pick_and_place import Pick
from vla_bench.tasks.task import Goal

_HOVER_M = 0.035  # of the ring over the peg's top, while it is not yet in place over it
_CENTRED_M = 0.005  # over a peg with edges
_CENTRED_OVER_ROUND_M = 0.009  # the arm is nearly stretched there, and stops short by some millimetres
_SLACK_ONCE_LOWER = 1.5  # of these, while the ring is already on its way down
_ALIGNED_RAD = 0.06
_THREADED_M = 0.012  # below the top, the peg guides the ring
_LET_GO_M = 0.045  # below the top, the ring falls the rest of the way by itself
_WIDE_TURN_RAD = np.pi / 2  # beyond it from the neutral yaw, the wrist nears its end


@skills.named("around")
class Thread:
    """Take a ring by its handle and lower it over a peg.

    The handle is the item `<ring>_handle`, its bar along the ring's x axis.
    """

    def __init__(self, goal: Goal) -> None:
        self._ring, self._peg = goal.arguments
        self._pick = Pick(f"{self._ring}_handle")

    def act(self, world: World) -> tuple[Action, str]:
        """Pick, carry over the peg, turn the ring as the peg stands, lower, let go."""
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
        """Return where the gripper is when the ring is at this offset from the peg's top, turned by so much."""
        grip = world.end_effector_position_world() - world.position_world(self._ring)
        cosine, sine = np.cos(turn_rad), np.sin(turn_rad)
        grip = np.array([cosine * grip[0] - sine * grip[1], sine * grip[0] + cosine * grip[1], grip[2]])
        ring = world.position_world(self._peg) + np.array([*lateral_m, height_m])
        return Pose(ring + grip, _gripper_yaw(world) + turn_rad)

    def _turn(self, world: World) -> float:
        """Return how far the ring must turn for the peg, and for the wrist to stay far from its ends [rad]."""
        ring, gripper = yaw_of(world.quat_wxyz_world(self._ring)), _gripper_yaw(world)
        symmetry = world.geometry(self._peg).grasp_yaw_symmetry_rad
        wanted = ring + _modulo(np.pi - ring, 2 * np.pi)  # the handle towards the robot
        if symmetry <= 0:
            beyond = abs(wanted - ring) - _WIDE_TURN_RAD
            return float(np.sign(wanted - ring)) * max(0.0, beyond)
        turns = [_modulo(wanted + quarter * symmetry - ring, 2 * np.pi) for quarter in (-1, 0, 1)]
        ends = [abs(_modulo(gripper + turn - NEUTRAL_YAW_RAD, 2 * np.pi)) for turn in turns]
        return min(zip(np.round(ends, 1), np.abs(turns), turns, strict=True))[2]

    def _release(self, world: World) -> tuple[Action, str]:
        tip = world.end_effector_position_world()
        held = world.in_contact(self._pick.item, "gripper")
        up = np.zeros(3) if held else np.array([0.0, 0.0, 0.08])
        return action_towards(world, Pose(tip + up, _gripper_yaw(world)), OPEN), "release"


def _gripper_yaw(world: World) -> float:
    return yaw_of(world.end_effector_quat_wxyz_world())


def _modulo(angle: float, period: float) -> float:
    return (angle + period / 2) % period - period / 2
