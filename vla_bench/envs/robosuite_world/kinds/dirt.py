"""What Wipe wants wiped off its table: `dirt:table` is all of it."""

from typing import Any

import numpy as np

from vla_bench.core.errors import UnknownNameError
from vla_bench.core.types import FloatArray
from vla_bench.envs.robosuite_world.item import Item, asset_kinds, box_geometry


@asset_kinds.named("dirt")
def dirt(env: Any, name: str) -> Item:
    """Return the dirt on the table; its origin is the middle of the table's top."""
    markers = getattr(env.model.mujoco_arena, "markers", None)
    if name != "table" or markers is None:
        raise UnknownNameError(f"dirt in robosuite's {type(env).__name__}", name, [] if markers is None else ["table"])
    model, data = env.sim.model._model, env.sim.data._data
    bodies = [model.body(marker.root_body).id for marker in markers]
    table = model.body("table").id
    half_size_m = np.array(env.model.mujoco_arena.table_half_size)
    origin_m = np.array([0.0, 0.0, half_size_m[2]])
    corners = np.stack([-half_size_m, half_size_m])

    def left() -> FloatArray:
        there: FloatArray = data.xpos[
            [body for body, marker in zip(bodies, markers, strict=True) if marker not in env.wiped_markers]
        ]
        return there

    return Item(table, frozenset({table}), box_geometry(origin_m, corners, 0.0), origin_m, dirt_world=left)
