"""PickPlace's bins: `bin_for:Can` is the compartment that the can belongs in, `bin:bin1` a bin as a whole."""

from typing import Any

import numpy as np

from vla_bench.core.errors import UnknownNameError
from vla_bench.core.types import ItemGeometry
from vla_bench.envs.robosuite_world.item import Item, asset_kinds, object_model

_FLOOR_M = 0.02  # above the bin's origin
_DEPTH_M = 0.10  # above the bin's origin; robosuite's success check ends there, and so do the walls
_WALL_M = 0.01  # half the thickness of the walls, which stand on the edge


@asset_kinds.named("bin_for")
def compartment(env: Any, name: str) -> Item:
    """Return the compartment that PickPlace keeps for the object `name`."""
    object_model(env, name)
    body = env.sim.model._model.body("bin2").id
    centre_world = env.target_bin_placements[env.object_to_id[name.lower()]]
    half_size_m = np.asarray(env.bin_size[:2]) / 4  # two by two compartments
    geometry = ItemGeometry(
        bottom_m=-_FLOOR_M, top_m=_DEPTH_M, support_m=_FLOOR_M, support_radius_m=float(min(half_size_m))
    )
    inside = np.array([*half_size_m, _DEPTH_M / 2])
    return Item(body, frozenset({body}), geometry, np.asarray(centre_world) - env.bin2_pos, inside)


@asset_kinds.named("bin")
def whole_bin(env: Any, name: str) -> Item:
    """Return the bin whose body robosuite calls `name`."""
    model = env.sim.model._model
    bodies = [model.body(i).name for i in range(model.nbody)]
    if name not in bodies:
        raise UnknownNameError(f"bin of robosuite's {type(env).__name__}", name, bodies)
    half_size_m = model.geom_size[model.body_geomadr[model.body(name).id], :2]  # of the floor, which reaches the walls
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
