"""Off-screen rendering. One context a process and image size, shared by all environments that use the same model."""

import atexit
from functools import lru_cache

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.errors import RenderingError
from vla_bench.core.types import ImageArray
from vla_bench.envs.mjcf import VISUAL_GROUP
from vla_bench.envs.options import Rendering


class Renderer:
    """Draw a model's cameras at one square size."""

    def __init__(self, model: mujoco.MjModel, image_size: int, rendering: Rendering) -> None:
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, image_size)
        model.vis.global_.offheight = max(model.vis.global_.offheight, image_size)
        try:
            self._renderer = mujoco.Renderer(model, image_size, image_size)
        except Exception as error:  # whatever the OpenGL stack raises: it differs from backend to backend
            raise RenderingError(f"{type(error).__name__}: {error}") from error
        if rendering == "fast":
            for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
                self._renderer.scene.flags[flag] = False
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = 0
        self._option.geomgroup[VISUAL_GROUP] = 1
        self._option.sitegroup[:] = 0

    def image(self, data: mujoco.MjData, camera: str) -> ImageArray:
        """Return a new (H, W, 3) image, right side up."""
        self._renderer.update_scene(data, camera=camera, scene_option=self._option)
        return np.asarray(self._renderer.render(), dtype=np.uint8)

    def depth(self, data: mujoco.MjData, camera: str) -> NDArray[np.float32]:
        """Return a new (H, W) depth image [m]."""
        self._renderer.enable_depth_rendering()
        try:
            self._renderer.update_scene(data, camera=camera, scene_option=self._option)
            return np.asarray(self._renderer.render(), dtype=np.float32)
        finally:
            self._renderer.disable_depth_rendering()

    def segmentation(self, data: mujoco.MjData, camera: str, segment_of_geom: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the segment of the geom that each pixel shows, (H, W); the last where there is none."""
        return segment_of_geom[self._geom_ids(data, camera)]

    def _geom_ids(self, data: mujoco.MjData, camera: str) -> NDArray[np.int32]:
        """Return which geom each pixel shows, (H, W); -1 where there is none."""
        self._renderer.enable_segmentation_rendering()
        try:
            self._renderer.update_scene(data, camera=camera, scene_option=self._option)
            ids, kinds = np.moveaxis(self._renderer.render(), -1, 0)
            return np.where(kinds == mujoco.mjtObj.mjOBJ_GEOM, ids, -1).astype(np.int32)
        finally:
            self._renderer.disable_segmentation_rendering()


@lru_cache(maxsize=8)
def shared_renderer(model: mujoco.MjModel, image_size: int, rendering: Rendering) -> Renderer:
    """Return this process's renderer for a model (by identity) and size; made on first use."""
    renderer = Renderer(model, image_size, rendering)
    # What is registered last runs first: renderers must be freed while the OpenGL that MuJoCo loaded for them is there.
    atexit.unregister(shared_renderer.cache_clear)
    atexit.register(shared_renderer.cache_clear)
    return renderer
