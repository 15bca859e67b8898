"""Fixed items of robosuite's scenes: bins, pegs, doors and the dirt of Wipe."""

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np

from vla_bench.core.errors import UnknownNameError
from vla_bench.core.types import FloatArray, ItemGeometry, Joint
from vla_bench.envs.robosuite.items import Item, asset_kinds, bodies_of, box_geometry, object_model
from vla_bench.envs.robosuite.items.objects import geom_points

_FLOOR_M = 0.02  # above the bin's origin
_DEPTH_M = 0.10  # above the bin's origin: the top of the walls, and the limit of robosuite's success check
_WALL_M = 0.01  # half the thickness of the walls, which are centered on the bin's edge

_PEGS = ("peg1", "peg2")  # robosuite's pegs, in the order of its nuts

_OPEN_RAD = 0.3  # robosuite's `_check_success`
_SHUT_RAD = 0.02
_UNLATCHED_RAD = 1.0  # from here on, the latch does not touch the frame
_LATCHED_RAD = 0.1


@asset_kinds.named("bin_for")
def compartment(env: Any, name: str) -> Item:
    """Return PickPlace's compartment for the object `name`, as in `bin_for:Can`."""
    object_model(env, name)
    body = env.sim.model._model.body("bin2").id
    center_world = env.target_bin_placements[env.object_to_id[name.lower()]]
    half_size_m = np.asarray(env.bin_size[:2]) / 4  # two by two compartments
    geometry = ItemGeometry(
        bottom_m=-_FLOOR_M, top_m=_DEPTH_M, support_m=_FLOOR_M, support_radius_m=float(min(half_size_m))
    )
    inside = np.array([*half_size_m, _DEPTH_M / 2])
    return Item(body, frozenset({body}), geometry, np.asarray(center_world) - env.bin2_pos, inside)


@asset_kinds.named("bin")
def whole_bin(env: Any, name: str) -> Item:
    """Return the bin with the body `name`, as in `bin:bin1`."""
    model = env.sim.model._model
    bodies = [model.body(i).name for i in range(model.nbody)]
    if name not in bodies:
        raise UnknownNameError(f"bin of robosuite's {type(env).__name__}", name, bodies)
    half_size_m = model.geom_size[model.body_geomadr[model.body(name).id], :2]  # of the floor, which ends at the walls
    opening_m = half_size_m - _WALL_M
    geometry = ItemGeometry(
        bottom_m=-_FLOOR_M,
        top_m=_DEPTH_M,
        support_m=_FLOOR_M,
        support_radius_m=float(min(half_size_m)),
        opening_half_size_m=(float(opening_m[0]), float(opening_m[1])),
    )
    body = model.body(name).id
    return Item(body, frozenset({body}), geometry, np.zeros(3), np.array([*half_size_m, _DEPTH_M / 2]))


@asset_kinds.named("peg_for")
def peg(env: Any, name: str) -> Item:
    """Return NutAssembly's peg for the nut `name`, as in `peg_for:SquareNut`; its origin is the center of its top."""
    nut, model = object_model(env, name), env.sim.model._model
    body = model.body(_PEGS[env.nuts.index(nut)]).id
    geom = model.body_geomadr[body]
    points = geom_points(model, geom)
    origin_m = np.array([0.0, 0.0, points[:, 2].max()])
    square = model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_BOX
    symmetry = np.pi / 2 if square else 0.0  # of an object that fits around the peg
    return Item(body, frozenset({body}), box_geometry(origin_m, points, symmetry), origin_m)


@asset_kinds.named("door")
def door(env: Any, name: str) -> Item:
    """Return a door, as in `door:Door`.

    Its origin is that of its panel. Its joints are `hinge` and, if the handle turns one, `latch`.
    """
    door_model, model, data = object_model(env, name), env.sim.model._model, env.sim.data._data
    panel = model.body(door_model.door_body).id
    handle_site = model.site(door_model.important_sites["handle"]).id
    handle_geom = model.geom(f"{name}_handle").id
    names = dict(zip(("hinge", "latch"), door_model.joints, strict=False))

    def joints() -> Sequence[Joint]:
        latch = model.geom_bodyid[handle_geom]
        along = data.xmat[latch].reshape(3, 3)[:, 0]
        found = []
        for kind, joint_name in names.items():
            joint = model.joint(joint_name).id
            hinge = kind == "hinge"
            found.append(
                Joint(
                    name=kind,
                    position=float(data.qpos[model.jnt_qposadr[joint]]),
                    open_from=_OPEN_RAD if hinge else _UNLATCHED_RAD,
                    closed_below=_SHUT_RAD if hinge else _LATCHED_RAD,
                    turns=True,
                    axis_world=data.xaxis[joint].copy(),
                    anchor_world=data.xanchor[joint].copy(),
                    handle_position_world=data.site_xpos[handle_site].copy(),
                    handle_along_world=along.copy(),
                )
            )
        return found

    geom = model.geom(f"{name}_panel").id
    geometry = box_geometry(np.zeros(3), geom_points(model, geom), grasp_yaw_symmetry_rad=np.pi)
    return Item(panel, bodies_of(model, door_model.contact_geoms), geometry, np.zeros(3), joints=joints)


@asset_kinds.named("dirt")
def dirt(env: Any, name: str) -> Item:
    """Return all dirt on Wipe's table, as in `dirt:table`; its origin is the center of the table's top."""
    markers = getattr(env.model.mujoco_arena, "markers", None)
    if name != "table" or markers is None:
        raise UnknownNameError(f"dirt in robosuite's {type(env).__name__}", name, [] if markers is None else ["table"])
    model, data = env.sim.model._model, env.sim.data._data
    bodies = [model.body(marker.root_body).id for marker in markers]
    table = model.body("table").id
    half_size_m = np.array(env.model.mujoco_arena.table_half_size)
    origin_m = np.array([0.0, 0.0, half_size_m[2]])
    corners = np.stack([-half_size_m, half_size_m])

    def remaining() -> FloatArray:
        left = [body for body, marker in zip(bodies, markers, strict=True) if marker not in env.wiped_markers]
        positions: FloatArray = data.xpos[left]
        return positions

    return Item(table, frozenset({table}), box_geometry(origin_m, corners, 0.0), origin_m, dirt_world=remaining)
