"""Parts of an object, by the name of the site that marks the part or of the geom that is it: `part:pot_handle0`."""

from typing import Any

import mujoco
import numpy as np

from vla_bench.core.errors import UnknownNameError
from vla_bench.core.rotations import quat_wxyz_to_matrix
from vla_bench.core.types import FloatArray
from vla_bench.envs.robosuite_world.item import Item, asset_kinds, box_geometry
from vla_bench.envs.robosuite_world.kinds.objects import geom_points


@asset_kinds.named("part")
def part(env: Any, name: str) -> Item:
    """Return the solid geom `name`, or the one around the site `name`; the frame is the body's, moved there.

    Fingers close along the body's y axis.
    """
    model = env.sim.model._model
    body, origin_m = _place(model, name)
    geoms = [geom for geom in np.flatnonzero(model.geom_bodyid == body) if model.geom_contype[geom]]
    geom = min(geoms, key=lambda geom: _depth(model, geom, origin_m))
    geometry = box_geometry(origin_m, geom_points(model, geom), grasp_yaw_symmetry_rad=np.pi)
    return Item(body, frozenset({body}), geometry, origin_m)


def _place(model: mujoco.MjModel, name: str) -> tuple[int, FloatArray]:
    sites = [model.site(i).name for i in range(model.nsite)]
    geoms = [model.geom(i).name for i in range(model.ngeom)]
    if name not in sites and name not in geoms:
        raise UnknownNameError("site or geom of this scene", name, [*sites, *geoms])
    found = model.site(name) if name in sites else model.geom(name)
    return int(found.bodyid[0]), np.array(found.pos)


def _depth(model: mujoco.MjModel, geom: int, point_m: FloatArray) -> float:
    """Return 0 for a point at the centre of the geom's box, 1 on its surface, more outside."""
    local = quat_wxyz_to_matrix(model.geom_quat[geom]).T @ (point_m - model.geom_pos[geom]) - model.geom_aabb[geom, :3]
    return float(np.max(np.abs(local) / model.geom_aabb[geom, 3:]))
