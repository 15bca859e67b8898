"""Where the hands of a robosuite environment are to be found in the simulation."""

from dataclasses import dataclass
from typing import Any

from vla_bench.envs.robosuite_world.item import bodies_of

_RIGHT = "right"  # what robosuite calls the arm of a robot that has one
_SIDES = ("right", "left")  # ours, of the robots in robosuite's order


@dataclass(frozen=True)
class Hand:
    """The end of one arm."""

    fingers: frozenset[int]  # bodies
    end_effector: int  # site
    finger_qpos: list[int]


def hands_of(env: Any) -> dict[str, Hand]:
    """Return the hands of the environment's robots: the first is the right one."""
    return {side: _hand(env.sim.model._model, robot) for side, robot in zip(_SIDES, env.robots, strict=False)}


def _hand(model: Any, robot: Any) -> Hand:
    gripper = robot.gripper[_RIGHT]
    if not gripper.dof:  # a tool instead of fingers
        return Hand(bodies_of(model, gripper.contact_geoms), robot.eef_site_id[_RIGHT], [])
    touching = [geom for part in ("left_finger", "right_finger") for geom in gripper.important_geoms[part]]
    return Hand(bodies_of(model, touching), robot.eef_site_id[_RIGHT], robot._ref_gripper_joint_pos_indexes[_RIGHT])
