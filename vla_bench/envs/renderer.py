"""Off-screen rendering: MuJoCo's renderer, given no more to draw than can be seen.

All renderers of a process share one OpenGL context; those of the same model and size are the same. docs/rendering.md
says what each quality is, what it costs, and how near its images are to the unsimplified ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.types import ImageArray
from vla_bench.envs.compiler_memory import give_back_free_memory
from vla_bench.envs.fineness import casts_shadows, given_to_opengl, has_mirror
from vla_bench.envs.framebuffer import Framebuffer
from vla_bench.envs.graphics import graphics
from vla_bench.envs.kept import Kept
from vla_bench.envs.mjcf import VISUAL_GROUP
from vla_bench.envs.options import Rendering
from vla_bench.envs.seen_geoms import SceneGeoms
from vla_bench.envs.shadow_map import ShadowMap, can_draw

_MOST_KEPT_BYTES = 32_000_000  # of the models of renderers: one of the tabletop suites has 5, of robosuite 25
_SPARE_GEOMS = 100  # for what MuJoCo draws besides the model's geoms


class Renderer:
    """Draw a model's cameras at one square size."""

    def __init__(self, model: mujoco.MjModel, image_size: int, rendering: Rendering) -> None:
        self._model, self._size, fast = model, image_size, rendering == "fast"
        self._option = _visible()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._scene = mujoco.MjvScene(model, maxgeom=model.ngeom + model.nsite + _SPARE_GEOMS)
        self._geoms = SceneGeoms(self._scene)
        self._shadows, self._reflections = not fast and casts_shadows(model), not fast and has_mirror(model)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = self._shadows
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = self._reflections
        self._graphics = graphics()
        self._graphics.use()
        with given_to_opengl(model, image_size, rendering):
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        if fast:
            _sample_one_mipmap(self._graphics.gl, self._context)
        self._own = self._context.offFBO, self._context.offFBO_r
        own_map = self._shadows and can_draw(model)
        self._shadow_map = ShadowMap(model, self._graphics.gl, self._context) if own_map else None
        self._stencil = self._reflections
        self._frames: list[Framebuffer] = []
        self._rectangle = mujoco.MjrRect(0, 0, image_size, image_size)
        self._pixels = np.empty((image_size, image_size, 3), dtype=np.uint8)
        self._graphics.close_after(self)

    @property
    def model_bytes(self) -> int:
        """What the model fills, which lives as long as its renderer; OpenGL holds about as much again."""
        return int(self._model.nbuffer)

    def images(self, data: mujoco.MjData, cameras: Mapping[str, str]) -> dict[str, ImageArray]:
        """Return a new (H, W, 3) image, right side up, of each of the model's `cameras`, under its key.

        All are drawn before the first is read, so that software OpenGL can use all its threads.
        """
        self._begin()
        self._draw_shadows(data, list(cameras.values()))
        for frame, camera in zip(self._frames_for(len(cameras)), cameras.values(), strict=True):
            self._draw(data, camera, frame)
            self._graphics.gl.glFlush()
        return {name: self._read(frame) for name, frame in zip(cameras, self._frames, strict=False)}

    def depth(self, data: mujoco.MjData, camera: str) -> NDArray[np.float32]:
        """Return a new (H, W) depth image [m]."""
        self._begin()
        (frame,) = self._frames_for(1)
        with self._numbered():
            self._draw(data, camera, frame)
        raw = np.empty((self._size, self._size), dtype=np.float32)
        mujoco.mjr_readPixels(None, raw, self._rectangle, self._context)
        return _metres(raw[::-1], self._model)

    def segmentation(self, data: mujoco.MjData, camera: str, segment_of_geom: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the segment of the geom that each pixel shows, (H, W); the last where there is none."""
        self._begin()
        (frame,) = self._frames_for(1)
        with self._numbered():
            self._draw(data, camera, frame)
        low, middle, high = np.moveaxis(self._read(frame).astype(np.int32), -1, 0)
        return np.asarray(segment_of_geom[self._geom_of_number()[low + 256 * middle + 65536 * high]])

    def free(self) -> None:
        """Free what OpenGL holds."""
        if self._context is None:
            return
        self._graphics.use()
        for frame in self._frames:
            frame.free()
        if self._shadow_map:
            self._shadow_map.free()
        self._context.offFBO, self._context.offFBO_r = self._own
        self._context.free()
        self._context = None

    def __del__(self) -> None:
        """Free what OpenGL holds, unless making it failed."""
        if hasattr(self, "_pixels"):
            self.free()

    def _begin(self) -> None:
        self._graphics.use()
        repeats = self._model.mat_texrepeat.ravel()  # which the context holds a copy of, and a perturbation may change
        self._context.mat_texrepeat[: len(repeats)] = repeats

    def _frames_for(self, cameras: int) -> list[Framebuffer]:
        while len(self._frames) < cameras:
            self._frames.append(
                Framebuffer(self._graphics.gl, self._size, self._context.offSamples, stencil=self._stencil)
            )
        return self._frames[:cameras]

    def _draw_shadows(self, data: mujoco.MjData, cameras: Sequence[str]) -> None:
        """Draw the shadows of all cameras, where MuJoCo need not draw them for each."""
        if self._shadow_map is None or not cameras:
            return
        self._fill_scene(data, cameras[0])
        eyes = []
        for camera in cameras:
            self._camera.fixedcamid = self._model.camera(camera).id
            mujoco.mjv_updateCamera(self._model, data, self._camera, self._scene)
            eyes.append(self._geoms.eye())
        self._shadow_map.draw(self._scene, self._geoms, eyes)

    def _fill_scene(self, data: mujoco.MjData, camera: str) -> None:
        self._camera.fixedcamid = self._model.camera(camera).id
        all_kinds = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, self._option, None, self._camera, all_kinds, self._scene)

    def _draw(self, data: mujoco.MjData, camera: str, frame: Framebuffer) -> None:
        self._fill_scene(data, camera)
        if self._shadow_map:
            self._shadow_map.use(self._scene, self._geoms)
        if self._shadow_map or not self._shadows:  # otherwise what is not seen may cast one
            self._geoms.keep_seen(reflections=self._reflections)
        frame.use(self._context)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        mujoco.mjr_render(self._rectangle, self._scene, self._context)

    def _read(self, frame: Framebuffer) -> ImageArray:
        frame.use(self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._rectangle, self._context)
        return self._pixels[::-1].copy()  # OpenGL begins at the bottom

    @contextmanager
    def _numbered(self) -> Iterator[None]:
        """Draw each geom in a colour that is its number; depth is most exact so, too."""
        before = self._scene.flags.copy()
        for flag in (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR):
            self._scene.flags[flag] = True
        try:
            yield
        finally:
            self._scene.flags[:] = before

    def _geom_of_number(self) -> NDArray[np.int32]:
        """Return the geom of each number that is drawn, -1 where it is none: 0 is the background."""
        geoms = self._geoms.all()
        found = np.full(self._scene.maxgeom + 1, -1, dtype=np.int32)
        shown = geoms[(geoms["segid"] >= 0) & (geoms["objtype"] == mujoco.mjtObj.mjOBJ_GEOM.value)]
        found[shown["segid"] + 1] = shown["objid"]
        return found


def shared_renderer(model: mujoco.MjModel, image_size: int, rendering: Rendering) -> Renderer:
    """Return this process's renderer for a model (by identity) and size; made on first use."""
    return _renderers(model, image_size, rendering)


def _made(model: mujoco.MjModel, image_size: int, rendering: Rendering) -> Renderer:
    renderer = Renderer(model, image_size, rendering)
    give_back_free_memory()  # what OpenGL was given on the way
    return renderer


_renderers = Kept(_made, lambda renderer: renderer.model_bytes, _MOST_KEPT_BYTES)


def _visible() -> mujoco.MjvOption:
    option = mujoco.MjvOption()
    option.geomgroup[:] = 0
    option.geomgroup[VISUAL_GROUP] = 1
    option.sitegroup[:] = 0
    return option


def _sample_one_mipmap(gl: Any, context: mujoco.MjrContext) -> None:
    """Take a texel from the nearest level of a texture, rather than between two: half the work for a pixel."""
    for number in range(context.ntexture):
        flat = context.textureType[number] == mujoco.mjtTexture.mjTEXTURE_2D
        target = gl.GL_TEXTURE_2D if flat else gl.GL_TEXTURE_CUBE_MAP
        gl.glBindTexture(target, int(context.texture[number]))
        gl.glTexParameteri(target, gl.GL_TEXTURE_MIN_FILTER, gl.GL_LINEAR_MIPMAP_NEAREST)


def _metres(raw: NDArray[np.float32], model: mujoco.MjModel) -> NDArray[np.float32]:
    """Undo the projection of depths: near is 1 and far is 0, as MuJoCo draws them."""
    extent = model.stat.extent
    near, far = np.float32(model.vis.map.znear * extent), np.float32(model.vis.map.zfar * extent)
    offset = np.float32(0.5) * (far + near) / (far - near) - np.float32(0.5)
    scale = np.float32(far * near) / (far - near)
    return np.asarray(scale / (raw.astype(np.float64) + offset), dtype=np.float32)
