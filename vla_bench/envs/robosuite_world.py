"""A read-only view of a robosuite environment, in the terms of tasks and experts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from vla_bench.core.errors import UnknownNameError
from vla_bench.core.rotations import quat_wxyz_to_matrix
from vla_bench.core.types import FloatArray, ItemGeometry, Joint

BIN_PREFIX = "bin_for:"  # an asset of this kind is the compartment that PickPlace keeps for the object named
_BIN_FLOOR_M = 0.02  # above the bin's origin
_BIN_DEPTH_M = 0.10  # above the bin's origin; robosuite's success check ends there, and so do the walls
_FINGER_DEPTH_M = 0.025  # an item may rise this far above the fingertips' centre before it touches the palm
_LEAST_GRASP_HEIGHT_M = 0.005
_FINGERS = ("left_finger", "right_finger")  # robosuite's names for the groups of geoms


@dataclass(frozen=True)
class _Item:
    body: int  # whose pose is the item's
    solid_bodies: frozenset[int]  # whose contacts are the item's
    geometry: ItemGeometry
    origin_m: FloatArray  # (3,) in the body's frame
    inside_half_size_m: FloatArray | None = None  # (2,) horizontal, of a compartment


class RobosuiteWorld:
    """Items are robosuite's objects, or compartments of its bins, under the names that a task gives them."""

    def __init__(self, env: Any, objects: Mapping[str, str]) -> None:
        self._model: mujoco.MjModel = env.sim.model._model
        self._data: mujoco.MjData = env.sim.data._data
        self._items = {name: _find(env, asset) for name, asset in objects.items()}
        gripper = env.robots[0].gripper["right"]
        self._fingers = _bodies_of(self._model, (geom for part in _FINGERS for geom in gripper.important_geoms[part]))
        self._end_effector: int = env.robots[0].eef_site_id["right"]
        self._finger_qpos: list[int] = env.robots[0]._ref_gripper_joint_pos_indexes["right"]
        self._drop_m = float(env.placement_initializer.z_offset)
        self._initial: dict[str, FloatArray] = {}

    def begin_episode(self) -> None:
        """Remember where everything stands now, or will after the short fall with which robosuite begins."""
        self._initial = {name: self.position_world(name) - (0.0, 0.0, self._drop_m) for name in self._items}

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
        """Whether the centre of `item` lies in the compartment `container`, as robosuite's `not_in_bin` has it."""
        half_size_m = self._known(container).inside_half_size_m
        if half_size_m is None:
            return False
        offset = self.position_world(item) - self.position_world(container)
        return bool((np.abs(offset[:2]) < half_size_m).all() and 0.0 < offset[2] < _BIN_DEPTH_M)

    def joints(self, fixture: str) -> Sequence[Joint]:
        """Articulated joints of `fixture`; the objects here have none."""
        self._known(fixture)
        return ()

    def end_effector_position_world(self) -> FloatArray:
        """Point between the fingertips, (3,)."""
        position: FloatArray = self._data.site_xpos[self._end_effector]
        return position

    def end_effector_quat_wxyz_world(self) -> FloatArray:
        """Orientation of the gripper, (4,)."""
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, self._data.site_xmat[self._end_effector])
        return quat

    def gripper_opening_m(self) -> float:
        """Distance that the fingers have between them."""
        return float(np.abs(self._data.qpos[self._finger_qpos]).sum())

    def _solid_bodies(self, name: str) -> frozenset[int]:
        return self._fingers if name == "gripper" else self._known(name).solid_bodies

    def _known(self, item: str) -> _Item:
        if item not in self._items:
            raise UnknownNameError("object in this scene", item, self._items)
        return self._items[item]


def _find(env: Any, asset: str) -> _Item:
    objects = {model.name: model for model in env.model.mujoco_objects}
    name = asset.removeprefix(BIN_PREFIX)
    if name not in objects:
        raise UnknownNameError(f"object of robosuite's {type(env).__name__}", name, objects)
    if asset.startswith(BIN_PREFIX):
        return _compartment(env, name)
    model = env.sim.model._model
    body = model.body(objects[name].root_body).id
    solid_bodies = _bodies_of(model, objects[name].contact_geoms)
    return _Item(body, solid_bodies, _object_geometry(model, objects[name]), np.zeros(3))


def _object_geometry(model: mujoco.MjModel, thing: Any) -> ItemGeometry:
    # Not the object's own `bottom_offset`, which for the can lies 2 cm below its bottom.
    heights_m = np.concatenate([_corner_heights_m(model, model.geom(name).id) for name in thing.contact_geoms])
    top_m = float(heights_m.max())
    box_m = getattr(thing, "size", None)  # half sizes of a box; the other objects are meshes
    return ItemGeometry(
        bottom_m=float(heights_m.min()),
        top_m=top_m,
        support_m=top_m,
        support_radius_m=float(thing.horizontal_radius) if box_m is None else float(min(box_m[:2])),
        grasp_height_m=max(_LEAST_GRASP_HEIGHT_M, top_m - _FINGER_DEPTH_M),
        grasp_yaw_symmetry_rad=0.0 if box_m is None else np.pi / 2,
    )


def _corner_heights_m(model: mujoco.MjModel, geom: int) -> FloatArray:
    """Return the heights of the corners of a geom's bounding box over its body's origin, (8,)."""
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
    corners = model.geom_aabb[geom, :3] + signs * model.geom_aabb[geom, 3:]
    heights: FloatArray = corners @ quat_wxyz_to_matrix(model.geom_quat[geom])[2] + model.geom_pos[geom, 2]
    return heights


def _compartment(env: Any, name: str) -> _Item:
    model = env.sim.model._model
    body = model.body("bin2").id
    centre_world = env.target_bin_placements[env.object_to_id[name.lower()]]
    half_size_m = np.asarray(env.bin_size[:2]) / 4  # two by two compartments
    geometry = ItemGeometry(
        bottom_m=-_BIN_FLOOR_M,
        top_m=_BIN_DEPTH_M,
        support_m=_BIN_FLOOR_M,
        support_radius_m=float(min(half_size_m)),
    )
    return _Item(body, frozenset({body}), geometry, np.asarray(centre_world) - env.bin2_pos, half_size_m)


def _bodies_of(model: mujoco.MjModel, geoms: Iterable[str]) -> frozenset[int]:
    return frozenset(int(model.geom(geom).bodyid[0]) for geom in geoms)
