"""Camera geometry, segmentation labels, contacts and proprioception fields of a MuJoCo simulation."""

from collections.abc import Iterable, Mapping

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.geometry import CameraGeometry
from vla_bench.core.types import ProprioceptionField
from vla_bench.envs.simulation import FIXED_SEGMENTS


def geom_segments(
    model: mujoco.MjModel, robots: Iterable[int], items: Mapping[str, Iterable[int]]
) -> NDArray[np.uint8]:
    """Return the segment of each geom, (geoms + 1,): the last one, 0, is for pixels that show no geom.

    `robots` are the root bodies of robots, `items` the bodies of each item. Child bodies belong to the segment of their
    parent unless they belong to another item; a body shared by several items belongs to the first of them.
    """
    of_body = np.zeros(model.nbody, dtype=np.uint8)
    own = dict.fromkeys(robots, 1)
    for number, bodies in enumerate(items.values(), start=len(FIXED_SEGMENTS)):
        for body in bodies:
            own.setdefault(body, number)
    for body in range(1, model.nbody):  # a parent comes before its children
        of_body[body] = own.get(body, of_body[model.body_parentid[body]])
    return np.append(of_body[model.geom_bodyid], np.uint8(0))


def camera_geometry(model: mujoco.MjModel, data: mujoco.MjData, name: str) -> CameraGeometry:
    """Return the current geometry of the model's camera `name`; positions in `data` must be computed."""
    camera = model.camera(name).id
    x, y, z = data.cam_xpos[camera].tolist()
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, data.cam_xmat[camera])
    body = int(model.cam_bodyid[camera])
    moves_with = model.body(body).name if model.body_weldid[body] else None
    return CameraGeometry((x, y, z), tuple(quat.tolist()), float(model.cam_fovy[camera]), moves_with)


class CameraGeometryCache:
    """The geometry of one camera, recomputed only after the camera has moved: every step's info contains it."""

    def __init__(self, model: mujoco.MjModel, name: str) -> None:
        self._model, self._name, self._camera = model, name, int(model.camera(name).id)
        self._pose: tuple[bytes, bytes, float] | None = None
        self._geometry: CameraGeometry | None = None

    def geometry(self, data: mujoco.MjData) -> CameraGeometry:
        """Return the current geometry of the camera; positions in `data` must be computed."""
        camera = self._camera
        pose = data.cam_xpos[camera].tobytes(), data.cam_xmat[camera].tobytes(), float(self._model.cam_fovy[camera])
        if self._geometry is None or pose != self._pose:
            self._pose, self._geometry = pose, camera_geometry(self._model, data, self._name)
        return self._geometry


def in_contact(model: mujoco.MjModel, data: mujoco.MjData, first: frozenset[int], second: frozenset[int]) -> bool:
    """Return whether any geoms of two sets of bodies touch."""
    bodies = model.geom_bodyid[data.contact.geom]  # (contacts, 2)
    return any((a in first and b in second) or (b in first and a in second) for a, b in bodies.tolist())


def arm_proprioception_fields(
    fingers: int, joints: int, *, finger_unit: str = "m", prefix: str = ""
) -> tuple[ProprioceptionField, ...]:
    """Return the fields of one arm's proprioception. With two arms, their names get a prefix such as "left_"."""
    fields = (
        ("end_effector_position", 3, "m, world frame, point between the fingertips"),
        ("end_effector_axis_angle", 3, "rad, world frame, robosuite's sign convention"),
        ("gripper_position", fingers, f"{finger_unit}, finger joints"),
        ("joint_positions", joints, "rad"),
        ("joint_velocities", joints, "rad/s"),
        ("hand_axis_angle", 3, "rad, world frame, the body that holds the gripper: LIBERO's state"),
    )
    return tuple(ProprioceptionField(f"{prefix}{name}", size, text) for name, size, text in fields)


class NormalForce:
    """The normal force at the contacts of a set of bodies with other bodies."""

    def __init__(self, model: mujoco.MjModel, bodies: Iterable[int]) -> None:
        own = np.zeros(model.nbody, dtype=bool)
        own[list(bodies)] = True
        self._own_geoms = own[model.geom_bodyid]

    def largest_n(self, data: mujoco.MjData) -> float:
        """Return the largest current normal force of a contact [N]; 0 without contact."""
        if not data.ncon:
            return 0.0
        contact = data.contact
        touches = self._own_geoms[contact.geom]  # (contacts, 2)
        chosen = touches[:, 0] != touches[:, 1]
        if not chosen.any():
            return 0.0
        rows = contact.efc_address[chosen]
        # The first constraint of an elliptic contact is its normal force; of a pyramidal one, a part of it.
        forces = np.asarray(data.efc_force)[rows[rows >= 0]]
        return float(forces.max(initial=0.0))
