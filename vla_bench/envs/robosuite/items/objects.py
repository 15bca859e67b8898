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

# ~ Things that lie about: robosuite's own objects, by robosuite's name.

_MIN_GRASP_HEIGHT_M = 0.005
_MAX_GRASP_WIDTH_M = 0.065  # the fingers open to 8 cm
_ROUND = 1.1  # a thing whose diagonal is no longer than this many times its sides is round
_CORNERS = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T  # (8, 3)


@asset_kinds.named(DEFAULT_KIND)
def plain_object(env: Any, name: str) -> Item:
    """Return the object that robosuite calls `name`."""
    thing, model = object_model(env, name), env.sim.model._model
    body = model.body(thing.root_body).id
    geoms = [model.geom(geom).id for geom in thing.contact_geoms]
    points = [_moved(env.sim.data._data, geom_points(model, geom), model.geom_bodyid[geom], body) for geom in geoms]
    return Item(body, bodies_of(model, thing.contact_geoms), _geometry(np.concatenate(points)), np.zeros(3))


def _moved(data: mujoco.MjData, points: FloatArray, body: int, to_body: int) -> FloatArray:
    """Return points (N, 3) in the frame of another body that is rigidly connected."""
    world = points @ data.xmat[body].reshape(3, 3).T + data.xpos[body]
    moved: FloatArray = (world - data.xpos[to_body]) @ data.xmat[to_body].reshape(3, 3)
    return moved


def _geometry(points: FloatArray) -> ItemGeometry:
    # Not the object's own `bottom_offset`, which for the can lies 2 cm below its bottom.
    bottom_m, top_m = float(points[:, 2].min()), float(points[:, 2].max())
    along_x, diagonal, along_y = (_width_m(points, angle) for angle in (0.0, np.pi / 4, np.pi / 2))
    symmetry = (
        np.pi / 2 if along_x < _MAX_GRASP_WIDTH_M else np.pi
    )  # the fingers close along y, or along x just as well
    return ItemGeometry(
        bottom_m=bottom_m,
        top_m=top_m,
        support_m=top_m,
        support_radius_m=min(along_x, along_y) / 2,
        grasp_height_m=max(_MIN_GRASP_HEIGHT_M, top_m - describe_robot("panda").gripper.geometry.depth_m),
        grasp_yaw_symmetry_rad=0.0 if diagonal < _ROUND * min(along_x, along_y) else symmetry,
    )


def geom_points(model: mujoco.MjModel, geom: int) -> FloatArray:
    """Return points in the body's frame that span the geom: a mesh's vertices, or its box's corners, (N, 3)."""
    if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH:
        mesh = model.geom_dataid[geom]
        first = model.mesh_vertadr[mesh]
        points = model.mesh_vert[first : first + model.mesh_vertnum[mesh]]
    else:
        points = model.geom_aabb[geom, :3] + _CORNERS * model.geom_aabb[geom, 3:]
    placed: FloatArray = points @ quat_wxyz_to_matrix(model.geom_quat[geom]).T + model.geom_pos[geom]
    return placed


def _width_m(points: FloatArray, angle_rad: float) -> float:
    return float(np.ptp(points[:, :2] @ np.array([np.cos(angle_rad), np.sin(angle_rad)])))


# ~ Parts of an object, by the name of the site that marks the part or of the geom that is it: `part:pot_handle0`.


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


# ~ Objects of ours that a perturbation brings into robosuite's scenes: `guest:yellow_cube`, by their description.

_PREFIX = "guest_"
_KIND = "guest:"


@asset_kinds.named("guest")
def guest(env: Any, name: str) -> Item:
    """Return the object that is described under `name`."""
    model = env.sim.model._model
    bodies = [model.body(i).name for i in range(model.nbody)]
    if guest_body_name(name) not in bodies:
        known = [body.removeprefix(_PREFIX) for body in bodies if body.startswith(_PREFIX)]
        raise UnknownNameError(f"guest in robosuite's {type(env).__name__}", name, known)
    body = model.body(guest_body_name(name)).id
    geoms = [geom for geom in np.flatnonzero(model.geom_bodyid == body) if model.geom_contype[geom]]
    points = np.concatenate([geom_points(model, geom) for geom in geoms])
    return Item(body, frozenset({body}), box_geometry(np.zeros(3), points, 0.0), np.zeros(3))


def guest_body_name(name: str) -> str:
    """Return what the guest's body is called."""
    return f"{_PREFIX}{name}"


def guest_names(assets: Iterable[str]) -> tuple[str, ...]:
    """Return the names of those assets that are guests."""
    return tuple(asset.removeprefix(_KIND) for asset in assets if asset.startswith(_KIND))
