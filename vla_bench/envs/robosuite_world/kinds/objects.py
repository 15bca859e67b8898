"""Things that lie about: robosuite's own objects, by robosuite's name."""

from typing import Any

import mujoco
import numpy as np

from vla_bench.core.rotations import quat_wxyz_to_matrix
from vla_bench.core.types import FloatArray, ItemGeometry
from vla_bench.envs.descriptions import describe_robot
from vla_bench.envs.robosuite_world.item import PLAIN, Item, asset_kinds, bodies_of, object_model

_LEAST_GRASP_HEIGHT_M = 0.005
_WIDEST_GRASP_M = 0.065  # the fingers open to 8 cm
_ROUND = 1.1  # a thing whose diagonal is no longer than this many times its sides is round
_CORNERS = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T  # (8, 3)


@asset_kinds.named(PLAIN)
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
    symmetry = np.pi / 2 if along_x < _WIDEST_GRASP_M else np.pi  # the fingers close along y, or along x just as well
    return ItemGeometry(
        bottom_m=bottom_m,
        top_m=top_m,
        support_m=top_m,
        support_radius_m=min(along_x, along_y) / 2,
        grasp_height_m=max(_LEAST_GRASP_HEIGHT_M, top_m - describe_robot("panda").gripper.geometry.depth_m),
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
