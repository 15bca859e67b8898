"""OpenGL level of detail per rendering quality (shadow map size, mesh subdivision, texture size).

MuJoCo reads these settings once, when the rendering context is created.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import mujoco
import numpy as np

from vla_bench.core.env_options import Rendering
from vla_bench.envs.mjcf import VISUAL_GROUP
from vla_bench.envs.rendering.shadow_map import OWN_TEXELS, supports_shadow_map

_ROUND = {mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_ELLIPSOID}
_FLAT_STACKS = 2  # rings of a cylinder; its sides are straight
_ONE_TILE_M = 1000.0  # larger than every floor
_MIN_REFLECTANCE = 0.05  # robosuite's floors have 0.01
_MAX_TEXELS = 512  # along a side of a texture at quality `fast`: robosuite's original textures have up to 67 MB each


@contextmanager
def reduced_detail(model: mujoco.MjModel, image_size: int, rendering: Rendering) -> Iterator[None]:
    """Set a model's level of detail to the rendering quality, and restore the model on exit.

    The OpenGL context must be created inside.
    """
    quality, size = model.vis.quality, model.vis.global_
    before = quality.shadowsize, quality.numquads, quality.numstacks, size.offwidth, size.offheight
    textures = {name: getattr(model, name).copy() for name in ("tex_data", "tex_width", "tex_height")}
    planes = model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
    tiles = model.geom_size[planes, 2].copy()
    try:
        size.offwidth = size.offheight = image_size
        if rendering == "fast" or not casts_shadows(model):
            quality.shadowsize = 0
        elif supports_shadow_map(model):
            quality.shadowsize = OWN_TEXELS
        if rendering == "fast":
            _shrink_textures(model)
            quality.numquads = 1
        _reduce_tessellation(model)
        yield
    finally:
        quality.shadowsize, quality.numquads, quality.numstacks, size.offwidth, size.offheight = before
        model.geom_size[planes, 2] = tiles
        for name, values in textures.items():
            getattr(model, name)[:] = values


def casts_shadows(model: mujoco.MjModel) -> bool:
    """Return whether any light casts shadows, even if it is off."""
    return bool(model.light_castshadow.any())


def has_mirror(model: mujoco.MjModel) -> bool:
    """Return whether MuJoCo's mirror, the first reflective flat geom, is strong enough to render the scene twice."""
    flat = np.isin(model.geom_type, [mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_BOX])
    visual = flat & (model.geom_group == VISUAL_GROUP) & (model.geom_matid >= 0)
    reflectance = model.mat_reflectance[model.geom_matid[visual]]
    return bool((reflectance[reflectance > 0][:1] >= _MIN_REFLECTANCE).any())


def _reduce_tessellation(model: mujoco.MjModel) -> None:
    """Reduce the subdivision of planes and cylinders to what their outline needs.

    OpenGL computes light at the vertices. Directional lights, and most others, illuminate a flat side uniformly, but
    the headlight does not: boxes are therefore undivided at quality `fast` only.
    """
    model.geom_size[model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE, 2] = _ONE_TILE_M
    if not _ROUND & set(model.geom_type[model.geom_group == VISUAL_GROUP].tolist()):
        model.vis.quality.numstacks = _FLAT_STACKS


def _shrink_textures(model: mujoco.MjModel) -> None:
    for texture in range(model.ntex):
        width, height = int(model.tex_width[texture]), int(model.tex_height[texture])
        sides = 6 if height == 6 * width else 1  # of a cube
        shorter = -(-max(width, height // sides) // _MAX_TEXELS)
        if shorter > 1:
            _shrink(model, texture, sides, shorter)


def _shrink(model: mujoco.MjModel, texture: int, sides: int, shorter: int) -> None:
    """Average squares of `shorter` x `shorter` texels, in place at the start of a texture's data."""
    width, height = int(model.tex_width[texture]), int(model.tex_height[texture]) // sides
    channels, begin = int(model.tex_nchannel[texture]), int(model.tex_adr[texture])
    across, down = width // shorter, height // shorter
    whole = model.tex_data[begin : begin + sides * width * height * channels].reshape(sides, height, width, channels)
    squares = whole[:, : down * shorter, : across * shorter].reshape(sides, down, shorter, across, shorter, channels)
    small = squares.mean(axis=(2, 4), dtype=np.float32).round().astype(np.uint8)
    model.tex_data[begin : begin + small.size] = small.ravel()
    model.tex_width[texture], model.tex_height[texture] = across, down * sides
