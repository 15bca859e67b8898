"""Movable items of robosuite's scenes: its objects, their parts, and additional objects."""

from collections.abc import Iterable
from typing import Any

import mujoco
import numpy as np

from vla_bench.core.errors import UnknownNameError
from vla_bench.core.geometry import quat_wxyz_to_matrix
from vla_bench.core.types import FloatArray, ItemGeometry
from vla_bench.envs.descriptions import describe_robot
from vla_bench.envs.robosuite.items import DEFAULT_KIND, Item, asset_kinds, bodies_of, box_geometry, object_model

_MIN_GRASP_HEIGHT_M = 0.005
_MAX_GRASP_WIDTH_M = 0.065  # the fingers open to 8 cm
_ROUND_DIAGONAL = 1.1  # an object with a smaller ratio of diagonal to side is round
_GUEST_BODY_PREFIX = "guest_"
_GUEST_ASSET_PREFIX = "guest:"
_CORNERS = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T  # (8, 3)


@asset_kinds.named(DEFAULT_KIND)
def plain_object(env: Any, name: str) -> Item:
    """Return robosuite's own object `name`."""
    found, model = object_model(env, name), env.sim.model._model
    body = model.body(found.root_body).id
    geoms = [model.geom(geom).id for geom in found.contact_geoms]
    points = [_in_frame(env.sim.data._data, geom_points(model, geom), model.geom_bodyid[geom], body) for geom in geoms]
    return Item(body, bodies_of(model, found.contact_geoms), _geometry(np.concatenate(points)), np.zeros(3))


def geom_points(model: mujoco.MjModel, geom: int) -> FloatArray:
    """Return points of the geom in the body's frame: a mesh's vertices, or the corners of its bounding box, (N, 3)."""
    if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH:
        mesh = model.geom_dataid[geom]
        first = model.mesh_vertadr[mesh]
        points = model.mesh_vert[first : first + model.mesh_vertnum[mesh]]
    else:
        points = model.geom_aabb[geom, :3] + _CORNERS * model.geom_aabb[geom, 3:]
    placed: FloatArray = points @ quat_wxyz_to_matrix(model.geom_quat[geom]).T + model.geom_pos[geom]
    return placed


@asset_kinds.named("part")
def part(env: Any, name: str) -> Item:
    """Return the solid geom `name`, or the geom around the site `name`, as in `part:pot_handle0`.

    Its frame is that of the body, shifted to the site or geom. Fingers close along the body's y axis.
    """
    model = env.sim.model._model
    body, origin_m = _body_and_position(model, name)
    geoms = [geom for geom in np.flatnonzero(model.geom_bodyid == body) if model.geom_contype[geom]]
    geom = min(geoms, key=lambda geom: _box_distance(model, geom, origin_m))
    geometry = box_geometry(origin_m, geom_points(model, geom), grasp_yaw_symmetry_rad=np.pi)
    return Item(body, frozenset({body}), geometry, origin_m)


@asset_kinds.named("guest")
def guest(env: Any, name: str) -> Item:
    """Return the additional object with the description `name`, as in `guest:yellow_cube`."""
    model = env.sim.model._model
    bodies = [model.body(i).name for i in range(model.nbody)]
    if guest_body_name(name) not in bodies:
        known = [body.removeprefix(_GUEST_BODY_PREFIX) for body in bodies if body.startswith(_GUEST_BODY_PREFIX)]
        raise UnknownNameError(f"guest in robosuite's {type(env).__name__}", name, known)
    body = model.body(guest_body_name(name)).id
    geoms = [geom for geom in np.flatnonzero(model.geom_bodyid == body) if model.geom_contype[geom]]
    points = np.concatenate([geom_points(model, geom) for geom in geoms])
    return Item(body, frozenset({body}), box_geometry(np.zeros(3), points, 0.0), np.zeros(3))


def guest_body_name(name: str) -> str:
    """Return the name of an additional object's body."""
    return f"{_GUEST_BODY_PREFIX}{name}"


def guest_names(assets: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the additional objects among `assets`."""
    return tuple(asset.removeprefix(_GUEST_ASSET_PREFIX) for asset in assets if asset.startswith(_GUEST_ASSET_PREFIX))


def _in_frame(data: mujoco.MjData, points: FloatArray, body: int, to_body: int) -> FloatArray:
    """Return points (N, 3) of one body in the frame of another body that is rigidly connected to it."""
    world = points @ data.xmat[body].reshape(3, 3).T + data.xpos[body]
    local: FloatArray = (world - data.xpos[to_body]) @ data.xmat[to_body].reshape(3, 3)
    return local


def _geometry(points: FloatArray) -> ItemGeometry:
    # The object's own `bottom_offset` is not used, because for the can it is 2 cm below its bottom.
    bottom_m, top_m = float(points[:, 2].min()), float(points[:, 2].max())
    along_x, diagonal, along_y = (_width_m(points, angle) for angle in (0.0, np.pi / 4, np.pi / 2))
    # The fingers close along y, and along x too if the object is narrow enough.
    symmetry = np.pi / 2 if along_x < _MAX_GRASP_WIDTH_M else np.pi
    return ItemGeometry(
        bottom_m=bottom_m,
        top_m=top_m,
        support_m=top_m,
        support_radius_m=min(along_x, along_y) / 2,
        grasp_height_m=max(_MIN_GRASP_HEIGHT_M, top_m - describe_robot("panda").gripper.geometry.depth_m),
        grasp_yaw_symmetry_rad=0.0 if diagonal < _ROUND_DIAGONAL * min(along_x, along_y) else symmetry,
    )


def _width_m(points: FloatArray, angle_rad: float) -> float:
    return float(np.ptp(points[:, :2] @ np.array([np.cos(angle_rad), np.sin(angle_rad)])))


def _body_and_position(model: mujoco.MjModel, name: str) -> tuple[int, FloatArray]:
    sites = [model.site(i).name for i in range(model.nsite)]
    geoms = [model.geom(i).name for i in range(model.ngeom)]
    if name not in sites and name not in geoms:
        raise UnknownNameError("site or geom of this scene", name, [*sites, *geoms])
    found = model.site(name) if name in sites else model.geom(name)
    return int(found.bodyid[0]), np.array(found.pos)


def _box_distance(model: mujoco.MjModel, geom: int, point_m: FloatArray) -> float:
    """Return 0 for a point at the center of the geom's bounding box, 1 on its surface, and more outside."""
    local = quat_wxyz_to_matrix(model.geom_quat[geom]).T @ (point_m - model.geom_pos[geom]) - model.geom_aabb[geom, :3]
    return float(np.max(np.abs(local) / model.geom_aabb[geom, 3:]))
