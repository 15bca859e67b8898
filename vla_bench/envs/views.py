"""What a camera's pixels mean: where it stands in a simulation, and which segment each pixel belongs to."""

from collections.abc import Iterable, Mapping

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.cameras import CameraGeometry
from vla_bench.envs.segments import FIXED_SEGMENTS


def segment_of_geoms(
    model: mujoco.MjModel, robots: Iterable[int], items: Mapping[str, Iterable[int]]
) -> NDArray[np.uint8]:
    """Return the segment of each geom, (geoms + 1,): the last, 0, serves pixels that show none.

    `robots` are the bodies that robots stand on, `items` the bodies of each item. What hangs on a body belongs to its
    segment, unless it is another item's; of items that share a body, it is the first's.
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
    """Return where the model's camera `name` stands now; positions in `data` must be computed."""
    camera = model.camera(name).id
    x, y, z = data.cam_xpos[camera].tolist()
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, data.cam_xmat[camera])
    body = int(model.cam_bodyid[camera])
    moves_with = model.body(body).name if model.body_weldid[body] else None
    return CameraGeometry((x, y, z), tuple(quat.tolist()), float(model.cam_fovy[camera]), moves_with)
