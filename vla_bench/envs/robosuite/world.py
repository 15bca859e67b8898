"""A read-only view of a robosuite environment for goal predicates and experts."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from vla_bench.core.errors import UnknownNameError
from vla_bench.core.types import FloatArray, GripperGeometry, ItemGeometry, Joint, Side
from vla_bench.envs.descriptions import describe_robot
from vla_bench.envs.robosuite.items import Item, bodies_of, find_item
from vla_bench.envs.sensors import in_contact

_ARM = "right"  # robosuite's name of the arm of a robot with one arm
_SIDES = ("right", "left")  # our names of the robots, in robosuite's order


@dataclass(frozen=True)
class EndEffector:
    """Bodies, site and joints of the gripper of one arm."""

    fingers: frozenset[int]  # bodies
    site: int
    finger_qpos: list[int]


def end_effectors(env: Any) -> dict[str, EndEffector]:
    """Return the end effectors of the environment's robots by side: the first robot is the right one."""
    return {side: _end_effector(env.sim.model._model, robot) for side, robot in zip(_SIDES, env.robots, strict=False)}


class RobosuiteWorld:
    """The world of a task: robosuite's objects, their parts and fixtures, by the names that the task gives them."""

    def __init__(self, env: Any, objects: Mapping[str, str]) -> None:
        self._model: mujoco.MjModel = env.sim.model._model
        self._data: mujoco.MjData = env.sim.data._data
        self._items = {name: find_item(env, asset) for name, asset in objects.items()}
        self._end_effectors = end_effectors(env)
        self._end_effector = self._end_effectors["right"]
        self._fingers = frozenset[int]().union(*(each.fingers for each in self._end_effectors.values()))
        sampler = getattr(env, "placement_initializer", None)  # Wipe has none
        self._drop_m = 0.0 if sampler is None else float(sampler.z_offset)
        self._initial: dict[str, FloatArray] = {}

    def begin_episode(self) -> None:
        """Store the initial positions: those after the short fall with which a robosuite episode begins."""
        self._initial.update({name: self.position_world(name) - (0.0, 0.0, self._drop_m) for name in self._items})

    def arm(self, side: Side) -> "RobosuiteWorld":
        """Return the world from the view of one arm; raise `UnknownNameError` if there is no such arm."""
        if side not in self._end_effectors:
            raise UnknownNameError("arm of this scene", side, self._end_effectors)
        view = copy.copy(self)
        view._end_effector = self._end_effectors[side]
        view._fingers = view._end_effector.fingers
        return view

    def items(self) -> tuple[str, ...]:
        """Return the names of all items."""
        return tuple(self._items)

    def item_bodies(self) -> dict[str, frozenset[int]]:
        """Return the bodies of each item."""
        return {name: item.solid_bodies | {item.body} for name, item in self._items.items()}

    def geometry(self, item: str) -> ItemGeometry:
        """Return the geometry of `item`."""
        return self._known(item).geometry

    def position_world(self, item: str) -> FloatArray:
        """Return the origin of `item`, (3,) [m]."""
        known = self._known(item)
        position: FloatArray = self._data.xpos[known.body] + self._data.xmat[known.body].reshape(3, 3) @ known.origin_m
        return position

    def quat_wxyz_world(self, item: str) -> FloatArray:
        """Return the orientation of `item`, (4,)."""
        quat: FloatArray = self._data.xquat[self._known(item).body]
        return quat

    def initial_position_world(self, item: str) -> FloatArray:
        """Return the origin of `item` at the start of the episode, (3,) [m]."""
        self._known(item)
        return self._initial[item]

    def in_contact(self, first: str, second: str) -> bool:
        """Return whether geoms of the two items touch; "gripper" stands for the fingers."""
        return in_contact(self._model, self._data, self._solid_bodies(first), self._solid_bodies(second))

    def inside(self, item: str, container: str) -> bool:
        """Return whether the origin of `item` is in the inner box of `container`, like robosuite's `not_in_bin`."""
        half_size_m = self._known(container).inside_half_size_m
        if half_size_m is None:
            return False
        offset = self.position_world(item) - self.position_world(container) - (0.0, 0.0, half_size_m[2])
        return bool((np.abs(offset) < half_size_m).all())

    def joints(self, fixture: str) -> Sequence[Joint]:
        """Return the articulated joints of `fixture`."""
        return self._known(fixture).joints()

    def dirt_world(self, item: str) -> FloatArray:
        """Return the positions of the remaining dirt of `item`, (N, 3) [m]; none if the item is not dirt."""
        dirt_world = self._known(item).dirt_world
        return np.empty((0, 3)) if dirt_world is None else dirt_world()

    def end_effector_position_world(self) -> FloatArray:
        """Return the point between the fingertips, (3,) [m]."""
        position: FloatArray = self._data.site_xpos[self._end_effector.site]
        return position

    def end_effector_quat_wxyz_world(self) -> FloatArray:
        """Return the orientation of the gripper, (4,)."""
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, self._data.site_xmat[self._end_effector.site])
        return quat

    def finger_bodies(self) -> frozenset[int]:
        """Return the bodies of the fingers of all arms in this view."""
        return self._fingers

    def gripper(self) -> GripperGeometry:
        """Return the geometry of the gripper."""
        return describe_robot("panda").gripper.geometry

    def gripper_opening_m(self) -> float:
        """Return the distance between the fingers [m]."""
        return float(np.abs(self._data.qpos[self._end_effector.finger_qpos]).sum())

    def _solid_bodies(self, name: str) -> frozenset[int]:
        return self._fingers if name == "gripper" else self._known(name).solid_bodies

    def _known(self, item: str) -> Item:
        if item not in self._items:
            raise UnknownNameError("object in this scene", item, self._items)
        return self._items[item]


def _end_effector(model: Any, robot: Any) -> EndEffector:
    gripper = robot.gripper[_ARM]
    if not gripper.dof:  # a tool instead of fingers
        return EndEffector(bodies_of(model, gripper.contact_geoms), robot.eef_site_id[_ARM], [])
    touching = [geom for part in ("left_finger", "right_finger") for geom in gripper.important_geoms[part]]
    return EndEffector(bodies_of(model, touching), robot.eef_site_id[_ARM], robot._ref_gripper_joint_pos_indexes[_ARM])
