"""Pegs of NutAssembly: `peg_for:SquareNut` is the one that the square nut belongs on."""

from typing import Any

import mujoco
import numpy as np

from vla_bench.envs.robosuite_world.item import Item, asset_kinds, box_geometry, object_model
from vla_bench.envs.robosuite_world.kinds.objects import geom_points

_PEGS = ("peg1", "peg2")  # robosuite's, in the order of its nuts


@asset_kinds.named("peg_for")
def peg(env: Any, name: str) -> Item:
    """Return the peg of the nut `name`; its origin is the middle of its top."""
    nut, model = object_model(env, name), env.sim.model._model
    body = model.body(_PEGS[env.nuts.index(nut)]).id
    geom = model.body_geomadr[body]
    points = geom_points(model, geom)
    origin_m = np.array([0.0, 0.0, points[:, 2].max()])
    square = model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_BOX
    symmetry = np.pi / 2 if square else 0.0  # of what fits around it
    return Item(body, frozenset({body}), box_geometry(origin_m, points, symmetry), origin_m)
