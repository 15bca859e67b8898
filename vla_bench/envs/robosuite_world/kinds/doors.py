"""Doors, as fixtures with joints: `door:Door` is robosuite's, with its hinge and the latch that its handle turns."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vla_bench.core.types import Joint
from vla_bench.envs.robosuite_world.item import Item, asset_kinds, bodies_of, box_geometry, object_model
from vla_bench.envs.robosuite_world.kinds.objects import geom_points

_OPEN_RAD = 0.3  # robosuite's `_check_success`
_SHUT_RAD = 0.02
_UNLATCHED_RAD = 1.0  # the latch's tip then is clear of the frame
_LATCHED_RAD = 0.1


@asset_kinds.named("door")
def door(env: Any, name: str) -> Item:
    """Return the door; its origin is that of its panel, its joints are `hinge` and, where it has one, `latch`."""
    thing, model, data = object_model(env, name), env.sim.model._model, env.sim.data._data
    panel = model.body(thing.door_body).id
    handle_site = model.site(thing.important_sites["handle"]).id
    handle_geom = model.geom(f"{name}_handle").id
    names = dict(zip(("hinge", "latch"), thing.joints, strict=False))

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
    return Item(panel, bodies_of(model, thing.contact_geoms), geometry, np.zeros(3), joints=joints)
