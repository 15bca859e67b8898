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

# ~ Where the hands of a robosuite environment are to be found in the simulation.

_RIGHT = "right"  # what robosuite calls the arm of a robot that has one
_SIDES = ("right", "left")  # ours, of the robots in robosuite's order


@dataclass(frozen=True)
class EndEffector:
    """The end of one arm."""

    fingers: frozenset[int]  # bodies
    end_effector: int  # site
    finger_qpos: list[int]


def end_effectors(env: Any) -> dict[str, EndEffector]:
    """Return the hands of the environment's robots: the first is the right one."""
    return {side: _end_effector(env.sim.model._model, robot) for side, robot in zip(_SIDES, env.robots, strict=False)}


def _end_effector(model: Any, robot: Any) -> EndEffector:
    gripper = robot.gripper[_RIGHT]
    if not gripper.dof:  # a tool instead of fingers
        return EndEffector(bodies_of(model, gripper.contact_geoms), robot.eef_site_id[_RIGHT], [])
    touching = [geom for part in ("left_finger", "right_finger") for geom in gripper.important_geoms[part]]
    return EndEffector(
        bodies_of(model, touching), robot.eef_site_id[_RIGHT], robot._ref_gripper_joint_pos_indexes[_RIGHT]
    )


# ~ Robosuite's scene as goal predicates and experts see it.


class RobosuiteWorld:
    """Items are robosuite's objects, their parts, and places of its scenes, under the names that a task gives them."""

    def __init__(self, env: Any, objects: Mapping[str, str]) -> None:
        self._model: mujoco.MjModel = env.sim.model._model
        self._data: mujoco.MjData = env.sim.data._data
        self._items = {name: find_item(env, asset) for name, asset in objects.items()}
        self._hands = end_effectors(env)
        self._hand: EndEffector = self._hands["right"]
        self._fingers = frozenset[int]().union(*(hand.fingers for hand in self._hands.values()))
        sampler = getattr(env, "placement_initializer", None)  # Wipe has none
        self._drop_m = 0.0 if sampler is None else float(sampler.z_offset)
        self._initial: dict[str, FloatArray] = {}

    def begin_episode(self) -> None:
        """Remember where everything stands now, or will after the short fall with which robosuite begins."""
        self._initial.update({name: self.position_world(name) - (0.0, 0.0, self._drop_m) for name in self._items})

    def arm(self, side: Side) -> "RobosuiteWorld":
        """Return the same world as one arm finds it; raise `UnknownNameError` where there is no such arm."""
        if side not in self._hands:
            raise UnknownNameError("arm of this scene", side, self._hands)
        view = copy.copy(self)
        view._hand = self._hands[side]
        view._fingers = view._hand.fingers
        return view

    def items(self) -> tuple[str, ...]:
        """Names of all items."""
        return tuple(self._items)

    def item_bodies(self) -> dict[str, frozenset[int]]:
        """Return the bodies of the model that are each item's."""
        return {name: item.solid_bodies | {item.body} for name, item in self._items.items()}

    def geometry(self, item: str) -> ItemGeometry:
        """Shape facts of `item`."""
        return self._known(item).geometry

    def position_world(self, item: str) -> FloatArray:
        """Origin of `item`, (3,)."""
        known = self._known(item)
        position: FloatArray = self._data.xpos[known.body] + self._data.xmat[known.body].reshape(3, 3) @ known.origin_m
        return position

    def quat_wxyz_world(self, item: str) -> FloatArray:
        """Orientation of `item`, (4,)."""
        quat: FloatArray = self._data.xquat[self._known(item).body]
        return quat

    def initial_position_world(self, item: str) -> FloatArray:
        """Origin of `item` when the episode began, (3,)."""
        self._known(item)
        return self._initial[item]

    def in_contact(self, first: str, second: str) -> bool:
        """Whether any geoms of the two items touch; "gripper" names the fingers."""
        one, two = self._solid_bodies(first), self._solid_bodies(second)
        bodies = self._model.geom_bodyid[self._data.contact.geom]  # (contacts, 2)
        return any((a in one and b in two) or (b in one and a in two) for a, b in bodies.tolist())

    def inside(self, item: str, container: str) -> bool:
        """Whether the centre of `item` lies in the inner box of `container`, as robosuite's `not_in_bin` has it."""
        half_size_m = self._known(container).inside_half_size_m
        if half_size_m is None:
            return False
        offset = self.position_world(item) - self.position_world(container) - (0.0, 0.0, half_size_m[2])
        return bool((np.abs(offset) < half_size_m).all())

    def joints(self, fixture: str) -> Sequence[Joint]:
        """Articulated joints of `fixture`."""
        return self._known(fixture).joints()

    def dirt_world(self, item: str) -> FloatArray:
        """Return where there is still dirt of `item`, (N, 3); nowhere, if it is not dirt at all."""
        dirt_world = self._known(item).dirt_world
        return np.empty((0, 3)) if dirt_world is None else dirt_world()

    def end_effector_position_world(self) -> FloatArray:
        """Point between the fingertips, (3,)."""
        position: FloatArray = self._data.site_xpos[self._hand.end_effector]
        return position

    def end_effector_quat_wxyz_world(self) -> FloatArray:
        """Orientation of the gripper, (4,)."""
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, self._data.site_xmat[self._hand.end_effector])
        return quat

    def finger_bodies(self) -> frozenset[int]:
        """Return the bodies of the model that are fingers, of all hands."""
        return self._fingers

    def gripper(self) -> GripperGeometry:
        """Shape facts of the gripper."""
        return describe_robot("panda").gripper.geometry

    def gripper_opening_m(self) -> float:
        """Distance that the fingers have between them."""
        return float(np.abs(self._data.qpos[self._hand.finger_qpos]).sum())

    def _solid_bodies(self, name: str) -> frozenset[int]:
        return self._fingers if name == "gripper" else self._known(name).solid_bodies

    def _known(self, item: str) -> Item:
        if item not in self._items:
            raise UnknownNameError("object in this scene", item, self._items)
        return self._items[item]
