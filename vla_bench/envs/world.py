"""A read-only view of a MuJoCo simulation, in the terms of tasks and experts."""

from collections.abc import Mapping, Sequence

import mujoco
import numpy as np

from vla_bench.core.errors import UnknownNameError
from vla_bench.core.types import FloatArray, ItemGeometry, Joint
from vla_bench.envs.descriptions import ObjectDescription
from vla_bench.envs.scene import CompiledScene


class MujocoWorld:
    """Items are bodies whose sites `bottom`, `top`, `support` and `inside` state their shape; see CONTRIBUTING.md."""

    def __init__(self, compiled: CompiledScene, data: mujoco.MjData, finger_bodies: Sequence[int], site: int) -> None:
        self._model, self._data, self._end_effector = compiled.model, data, site
        self._bodies = {item: self._model.body(item).id for item in compiled.objects}
        self._geometry = {item: _geometry(self._model, item, compiled.objects) for item in compiled.objects}
        self._inside = {item: _inside_site(self._model, item) for item in compiled.objects}
        self._fingers = frozenset(finger_bodies)
        self._finger_list = tuple(finger_bodies)
        self._initial: dict[str, FloatArray] = {}

    def begin_episode(self) -> None:
        """Remember where everything stands now."""
        self._initial = {item: self.position_world(item).copy() for item in self._bodies}

    def items(self) -> tuple[str, ...]:
        """Names of all items."""
        return tuple(self._bodies)

    def item_bodies(self) -> dict[str, tuple[int, ...]]:
        """Return the bodies of the model that are each item's."""
        return {item: (body,) for item, body in self._bodies.items()}

    def geometry(self, item: str) -> ItemGeometry:
        """Shape facts of `item`."""
        return self._geometry[self._known(item)]

    def position_world(self, item: str) -> FloatArray:
        """Origin of `item`, (3,)."""
        position: FloatArray = self._data.xpos[self._bodies[self._known(item)]]
        return position

    def quat_wxyz_world(self, item: str) -> FloatArray:
        """Orientation of `item`, (4,)."""
        quat: FloatArray = self._data.xquat[self._bodies[self._known(item)]]
        return quat

    def initial_position_world(self, item: str) -> FloatArray:
        """Origin of `item` when the episode began, (3,)."""
        return self._initial[self._known(item)]

    def in_contact(self, first: str, second: str) -> bool:
        """Whether any geoms of the two items touch; "gripper" names the fingers."""
        one, two = self._body_set(first), self._body_set(second)
        bodies = self._model.geom_bodyid[self._data.contact.geom]  # (contacts, 2)
        return any((a in one and b in two) or (b in one and a in two) for a, b in bodies.tolist())

    def inside(self, item: str, container: str) -> bool:
        """Whether the centre of `item` lies in the `inside` box of `container`."""
        site = self._inside[self._known(container)]
        if site is None:
            return False
        offset = self.position_world(item) - self._data.site_xpos[site]
        local = self._data.site_xmat[site].reshape(3, 3).T @ offset
        return bool((np.abs(local) < self._model.site_size[site]).all())

    def joints(self, fixture: str) -> Sequence[Joint]:
        """Articulated joints of `fixture`; objects on the table have none."""
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
        fingers = [body for body in self._finger_list if self._model.body_jntnum[body]]
        return float(sum(abs(self._data.qpos[self._model.jnt_qposadr[self._model.body_jntadr[b]]]) for b in fingers))

    def _body_set(self, name: str) -> frozenset[int]:
        return self._fingers if name == "gripper" else frozenset({self._bodies[self._known(name)]})

    def _known(self, item: str) -> str:
        if item not in self._bodies:
            raise UnknownNameError("object in this scene", item, self._bodies)
        return item


def _geometry(model: mujoco.MjModel, item: str, objects: Mapping[str, ObjectDescription]) -> ItemGeometry:
    grasp = objects[item].grasp
    support = model.site(f"{item}/support")
    return ItemGeometry(
        bottom_m=float(model.site(f"{item}/bottom").pos[2]),
        top_m=float(model.site(f"{item}/top").pos[2]),
        support_m=float(support.pos[2]),
        support_radius_m=float(support.size[0]),
        grasp_height_m=grasp.height_m if grasp else 0.0,
        grasp_yaw_symmetry_rad=float(np.radians(grasp.yaw_symmetry_deg)) if grasp else 0.0,
    )


def _inside_site(model: mujoco.MjModel, item: str) -> int | None:
    site = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, f"{item}/inside")
    return site if site >= 0 else None
