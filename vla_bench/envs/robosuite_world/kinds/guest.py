"""Objects of ours that a perturbation brings into robosuite's scenes: `guest:yellow_cube`, by their description."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from vla_bench.core.errors import UnknownNameError
from vla_bench.envs.robosuite_world.item import Item, asset_kinds, box_geometry
from vla_bench.envs.robosuite_world.kinds.objects import geom_points

_PREFIX = "guest_"
_KIND = "guest:"


@asset_kinds.named("guest")
def guest(env: Any, name: str) -> Item:
    """Return the object that is described under `name`."""
    model = env.sim.model._model
    bodies = [model.body(i).name for i in range(model.nbody)]
    if guest_body(name) not in bodies:
        known = [body.removeprefix(_PREFIX) for body in bodies if body.startswith(_PREFIX)]
        raise UnknownNameError(f"guest in robosuite's {type(env).__name__}", name, known)
    body = model.body(guest_body(name)).id
    geoms = [geom for geom in np.flatnonzero(model.geom_bodyid == body) if model.geom_contype[geom]]
    points = np.concatenate([geom_points(model, geom) for geom in geoms])
    return Item(body, frozenset({body}), box_geometry(np.zeros(3), points, 0.0), np.zeros(3))


def guest_body(name: str) -> str:
    """Return what the guest's body is called."""
    return f"{_PREFIX}{name}"


def guests_among(assets: Iterable[str]) -> tuple[str, ...]:
    """Return the names of those assets that are guests."""
    return tuple(asset.removeprefix(_KIND) for asset in assets if asset.startswith(_KIND))
