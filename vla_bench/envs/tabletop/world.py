"""A read-only view of a tabletop simulation for goal predicates and experts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from vla_bench.core.errors import UnknownNameError
from vla_bench.core.registry import Registry
from vla_bench.core.types import FloatArray, GripperGeometry, ItemGeometry, Joint
from vla_bench.envs.descriptions import GripperDescription, JointDescription, ObjectDescription
from vla_bench.envs.sensors import in_contact
from vla_bench.envs.tabletop.scene import CompiledScene, horizontal_radius, item_prefix


@dataclass(frozen=True)
class JointInModel:
    """A described joint with its ids in the compiled model."""

    part: str  # name of the item that it moves
    description: JointDescription
    joint: int
    qpos: int
    handle: int  # a site
    upper: float  # end of its range [m or rad]


def articulated_joints(compiled: CompiledScene, item: str) -> tuple[JointInModel, ...]:
    """Return the joints of all parts of an object, or the joint of one part."""
    return tuple(
        _find_joint(compiled.model, item_prefix(name), f"{name}_{part}", description.joint)
        for name, whole in compiled.objects.items()
        for part, description in whole.parts.items()
        if description.joint and item in (name, f"{name}_{part}")
    )


JointStart = Callable[[JointInModel, np.random.Generator], float]
joint_starts: Registry[JointStart] = Registry("initial relation of a joint")


@joint_starts.named("turned_on")
@joint_starts.register
def opened(joint: JointInModel, generator: np.random.Generator) -> float:
    """Sample a position in the upper half of the range in which the joint counts as open."""
    middle = (joint.description.open_from + joint.upper) / 2
    return float(generator.uniform(middle, joint.upper))


def _find_joint(model: mujoco.MjModel, prefix: str, part: str, description: JointDescription) -> JointInModel:
    joint = model.joint(prefix + description.joint).id
    handle = model.site(prefix + description.handle).id
    upper = float(model.jnt_range[joint, 1])
    return JointInModel(part, description, joint, int(model.jnt_qposadr[joint]), handle, upper)


@dataclass(frozen=True)
class _Item:
    """The ids of an object, or of a part of one, in the model."""

    prefix: str  # of the names of the sites that define its shape
    body: int  # its pose is the item's, unless the item is an area
    area: int | None = None  # the site of an item that is an area without geometry
    inside: int | None = None  # the site of a container's inner volume


@dataclass(frozen=True)
class GripperInModel:
    """The ids of a gripper in a model."""

    site: int  # the point between the fingertips
    bodies: frozenset[int]  # whose contacts are the gripper's
    tips: tuple[int, int]  # geoms
    tip_thickness_m: float
    geometry: GripperGeometry

    @classmethod
    def of(cls, model: mujoco.MjModel, gripper: GripperDescription, prefix: str) -> "GripperInModel":
        """Return the gripper whose names start with `prefix`."""
        fingers = gripper.fingers
        first, second = (model.geom(prefix + name).id for name in fingers.tips)
        bodies = frozenset(model.body(prefix + name).id for name in fingers.bodies)
        site = model.site(prefix + gripper.end_effector.site).id
        return cls(site, bodies, (first, second), fingers.tip_thickness_m, gripper.geometry)


class MujocoWorld:
    """A view whose items are bodies; the sites `bottom`, `top`, `support` and `inside` define their shape.

    Described parts of an object are items named `<object>_<part>`: bodies with the same sites, or areas.
    """

    def __init__(self, compiled: CompiledScene, data: mujoco.MjData, gripper: GripperInModel) -> None:
        self._model, self._data, self._gripper, self._end_effector = compiled.model, data, gripper, gripper.site
        self._items = _items(compiled)
        self._geometry = {
            name: _geometry(self._model, item, compiled.objects.get(name)) for name, item in self._items.items()
        }
        self._joints = {name: articulated_joints(compiled, name) for name in self._items}
        self._solid = {name: _rigid_bodies(self._model, item) for name, item in self._items.items()}
        self._initial: dict[str, FloatArray] = {}

    def begin_episode(self) -> None:
        """Store the current positions as the initial ones."""
        self._initial = {item: self.position_world(item).copy() for item in self._items}

    def items(self) -> tuple[str, ...]:
        """Return the names of all items: the objects in the order of the task, then their parts."""
        return tuple(self._items)

    def item_bodies(self) -> dict[str, tuple[int, ...]]:
        """Return the model's bodies of each item; an area has none."""
        return {name: () if item.area is not None else (item.body,) for name, item in self._items.items()}

    def geometry(self, item: str) -> ItemGeometry:
        """Return the shape facts of `item`."""
        self._known(item)
        return self._geometry[item]

    def position_world(self, item: str) -> FloatArray:
        """Return the origin of `item`, (3,)."""
        known = self._known(item)
        position: FloatArray = self._data.xpos[known.body] if known.area is None else self._data.site_xpos[known.area]
        return position

    def quat_wxyz_world(self, item: str) -> FloatArray:
        """Return the orientation of `item`, (4,)."""
        quat: FloatArray = self._data.xquat[self._known(item).body]
        return quat

    def initial_position_world(self, item: str) -> FloatArray:
        """Return the origin of `item` at the start of the episode, (3,)."""
        self._known(item)
        return self._initial[item]

    def in_contact(self, first: str, second: str) -> bool:
        """Return whether any geoms of the two items touch; "gripper" names the fingers."""
        return in_contact(self._model, self._data, self._solid_bodies(first), self._solid_bodies(second))

    def inside(self, item: str, container: str) -> bool:
        """Return whether the center of `item` is in the `inside` box of `container`."""
        site = self._known(container).inside
        if site is None:
            return False
        offset = self.position_world(item) - self._data.site_xpos[site]
        local = self._data.site_xmat[site].reshape(3, 3).T @ offset
        return bool((np.abs(local) < self._model.site_size[site]).all())

    def joints(self, fixture: str) -> Sequence[Joint]:
        """Return the articulated joints of an object or of one part, named as the parts that they move."""
        self._known(fixture)
        return tuple(self._joint(known) for known in self._joints[fixture])

    def end_effector_position_world(self) -> FloatArray:
        """Return the point between the fingertips, (3,)."""
        position: FloatArray = self._data.site_xpos[self._end_effector]
        return position

    def end_effector_quat_wxyz_world(self) -> FloatArray:
        """Return the orientation of the gripper, (4,)."""
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, self._data.site_xmat[self._end_effector])
        return quat

    def gripper(self) -> GripperGeometry:
        """Return the shape facts of the gripper."""
        return self._gripper.geometry

    def gripper_opening_m(self) -> float:
        """Return the distance between the fingertips."""
        first, second = self._gripper.tips
        offset = self._data.geom_xpos[first] - self._data.geom_xpos[second]
        opening_axis = self._data.site_xmat[self._end_effector].reshape(3, 3)[:, 0]
        return max(0.0, float(abs(offset @ opening_axis)) - self._gripper.tip_thickness_m)

    def _joint(self, known: JointInModel) -> Joint:
        model, data = self._model, self._data
        return Joint(
            name=known.part,
            position=float(data.qpos[known.qpos]),
            open_from=known.description.open_from,
            closed_below=known.description.closed_below,
            turns=bool(model.jnt_type[known.joint] == mujoco.mjtJoint.mjJNT_HINGE),
            axis_world=data.xaxis[known.joint].copy(),
            anchor_world=data.xanchor[known.joint].copy(),
            handle_position_world=data.site_xpos[known.handle].copy(),
            handle_along_world=data.site_xmat[known.handle].reshape(3, 3)[:, 0].copy(),
        )

    def _solid_bodies(self, name: str) -> frozenset[int]:
        if name == "gripper":
            return self._gripper.bodies
        self._known(name)
        return self._solid[name]

    def _known(self, item: str) -> _Item:
        if item not in self._items:
            raise UnknownNameError("object in this scene", item, self._items)
        return self._items[item]


def _items(compiled: CompiledScene) -> dict[str, _Item]:
    model = compiled.model
    items = {}
    for name in compiled.objects:
        prefix = item_prefix(name)
        items[name] = _Item(prefix, model.body(name).id, inside=_site(model, f"{prefix}inside"))
    for name, description in compiled.objects.items():
        for part in description.parts:
            place = item_prefix(name) + part
            area = _site(model, place)
            body = model.body(place).id if area is None else int(model.site_bodyid[area])
            items[f"{name}_{part}"] = _Item(f"{place}_", body, area, _site(model, f"{place}_inside"))
    return items


def _geometry(model: mujoco.MjModel, item: _Item, description: ObjectDescription | None) -> ItemGeometry:
    if item.area is not None:
        return ItemGeometry(0.0, 0.0, 0.0, support_radius_m=float(model.site_size[item.area, 0]))
    grasp = description.grasp if description else None
    support = model.site(f"{item.prefix}support")
    return ItemGeometry(
        bottom_m=float(model.site(f"{item.prefix}bottom").pos[2]),
        top_m=float(model.site(f"{item.prefix}top").pos[2]),
        support_m=float(support.pos[2]),
        support_radius_m=float(support.size[0]),
        radius_m=horizontal_radius(model, model.body(item.body).name),
        grasp_height_m=grasp.height_m if grasp else 0.0,
        grasp_yaw_symmetry_rad=float(np.radians(grasp.yaw_symmetry_deg)) if grasp else 0.0,
        grasp_offset_m=grasp.offset_m if grasp else 0.0,
    )


def _rigid_bodies(model: mujoco.MjModel, item: _Item) -> frozenset[int]:
    """Return the bodies whose contacts are an item's: its own and those fixed to it; an area has none."""
    if item.area is not None:
        return frozenset()
    found = {item.body}
    for body in range(item.body + 1, model.nbody):  # a parent comes before its children
        if model.body_parentid[body] in found and model.body_jntnum[body] == 0:
            found.add(body)
    return frozenset(found)


def _site(model: mujoco.MjModel, name: str) -> int | None:
    site = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, name)
    return site if site >= 0 else None
