"""Items of a robosuite scene that a task may name, and the registry of their kinds."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from vla_bench.core.errors import UnknownNameError
from vla_bench.core.registry import Registry
from vla_bench.core.types import FloatArray, ItemGeometry, Joint

DEFAULT_KIND = "object"  # the kind of an asset without a prefix


@dataclass(frozen=True)
class Item:
    """Bodies, geometry and joints of an item in the simulation."""

    body: int  # its pose is the item's pose
    solid_bodies: frozenset[int]  # their contacts are the item's contacts
    geometry: ItemGeometry
    origin_m: FloatArray  # (3,) in the body's frame
    inside_half_size_m: FloatArray | None = None  # (3,) of a container's inner box; its floor is at the origin
    joints: Callable[[], Sequence[Joint]] = tuple  # current joints of a fixture
    dirt_world: Callable[[], FloatArray] | None = None  # (N, 3), the dirt that is left


AssetKind = Callable[[Any, str], Item]  # takes a robosuite environment and the name after the asset's prefix
asset_kinds: Registry[AssetKind] = Registry("kind of asset", package="vla_bench.envs.robosuite.items")


def find_item(env: Any, asset: str) -> Item:
    """Return the item `asset` (`NAME`, or `KIND:NAME`) of `env`; raise `UnknownNameError` if there is none."""
    kind, _, name = asset.rpartition(":")
    return asset_kinds[kind or DEFAULT_KIND](env, name)


def object_model(env: Any, name: str) -> Any:
    """Return robosuite's model of the object `name`; raise `UnknownNameError` if the scene has none."""
    objects = {model.name: model for model in env.model.mujoco_objects}
    if name not in objects:
        raise UnknownNameError(f"object of robosuite's {type(env).__name__}", name, objects)
    return objects[name]


def bodies_of(model: mujoco.MjModel, geoms: Iterable[str]) -> frozenset[int]:
    """Return the bodies of these geoms."""
    return frozenset(int(model.geom(geom).bodyid[0]) for geom in geoms)


def box_geometry(origin_m: FloatArray, points_m: FloatArray, grasp_yaw_symmetry_rad: float) -> ItemGeometry:
    """Return the geometry of the box around `points_m` (N, 3), relative to `origin_m` (3,)."""
    low_m, high_m = points_m.min(axis=0), points_m.max(axis=0)
    top_m = float(high_m[2] - origin_m[2])
    return ItemGeometry(
        bottom_m=float(low_m[2] - origin_m[2]),
        top_m=top_m,
        support_m=top_m,
        support_radius_m=float(np.min(high_m[:2] - low_m[:2])) / 2,
        grasp_yaw_symmetry_rad=grasp_yaw_symmetry_rad,
    )
