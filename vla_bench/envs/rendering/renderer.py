"""Off-screen rendering of a model's cameras.

All renderers of a process share one OpenGL context; renderers of the same model and size are the same object.
docs/rendering.md states what each quality costs and how near its images are to unsimplified ones.
"""

import atexit
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from typing import Any, Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.cache import SizedCache
from vla_bench.core.env_options import Rendering
from vla_bench.core.errors import RenderingError
from vla_bench.core.types import ImageArray
from vla_bench.envs.mjcf import VISUAL_GROUP, give_back_free_memory
from vla_bench.envs.rendering.culling import SceneGeoms
from vla_bench.envs.rendering.level_of_detail import casts_shadows, has_mirror, reduced_detail
from vla_bench.envs.rendering.shadow_map import ShadowMap, supports_shadow_map

_CACHE_BYTES = 32_000_000  # of the renderers' models: one of the tabletop suites has 5 MB, one of robosuite 25 MB
_SPARE_GEOMS = 100  # for decorations that MuJoCo renders in addition to the model's geoms


class Freeable(Protocol):
    """An owner of OpenGL resources."""

    def free(self) -> None:
        """Free the resources; do nothing if they have been freed."""


class OpenGLContext:
    """An off-screen OpenGL context that outlives its users."""

    def __init__(self) -> None:
        try:
            self._context = mujoco.GLContext(1, 1)
            self.gl: Any = import_module("OpenGL.GL")  # only now: without rendering, OpenGL is not needed
        except Exception as error:  # the type of the error differs between OpenGL backends
            raise RenderingError(f"{type(error).__name__}: {error}") from error
        self._users: weakref.WeakSet[Freeable] = weakref.WeakSet()
        # The last function registered runs first: resources must be freed before the OpenGL that MuJoCo loaded.
        atexit.register(self._close)

    def use(self) -> None:
        """Make this context current: a program may have others."""
        self._context.make_current()

    def close_after(self, user: Freeable) -> None:
        """Free `user` before the process ends, unless it has been freed."""
        self._users.add(user)

    def _close(self) -> None:
        with suppress(Exception):  # another library may have terminated EGL, which frees everything
            for user in list(self._users):
                user.free()
            self._context.free()


@cache
def opengl_context() -> OpenGLContext:
    """Return this process's context, created on first use; raise `RenderingError` if it cannot be created."""
    return OpenGLContext()


class Framebuffer:
    """Color and depth buffers of one square image, and a second framebuffer to read from if it is multisampled.

    With one framebuffer for each camera, software OpenGL renders several images at a time.
    """

    def __init__(self, gl: Any, size: int, samples: int, *, stencil: bool) -> None:
        """Create the buffers in the current context. Reflections need a `stencil`, which makes depth slower."""
        self._gl, self._size, self._stencil = gl, size, stencil
        self._buffers: list[Any] = []
        self.rendered = self._make(samples)
        self.read = self._make(0) if samples else 0

    def use(self, context: mujoco.MjrContext) -> None:
        """Let MuJoCo render into this framebuffer and read from it."""
        context.offFBO, context.offFBO_r = self.rendered, self.read

    def free(self) -> None:
        """Free the buffers; the context in which they were created must be current."""
        gl = self._gl
        gl.glDeleteRenderbuffers(len(self._buffers), self._buffers)
        frames = [frame for frame in (self.rendered, self.read) if frame]
        gl.glDeleteFramebuffers(len(frames), frames)

    def _make(self, samples: int) -> int:
        gl = self._gl
        frame = int(gl.glGenFramebuffers(1))
        gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, frame)
        self._attach(gl.GL_COLOR_ATTACHMENT0, gl.GL_RGBA8, samples)
        if self._stencil:
            self._attach(gl.GL_DEPTH_STENCIL_ATTACHMENT, gl.GL_DEPTH32F_STENCIL8, samples)
        else:
            self._attach(gl.GL_DEPTH_ATTACHMENT, gl.GL_DEPTH_COMPONENT32F, samples)
        return frame

    def _attach(self, where: int, kind: int, samples: int) -> None:
        gl = self._gl
        buffer = int(gl.glGenRenderbuffers(1))
        gl.glBindRenderbuffer(gl.GL_RENDERBUFFER, buffer)
        gl.glRenderbufferStorageMultisample(gl.GL_RENDERBUFFER, samples, kind, self._size, self._size)
        gl.glFramebufferRenderbuffer(gl.GL_FRAMEBUFFER, where, gl.GL_RENDERBUFFER, buffer)
        self._buffers.append(buffer)


class Renderer:
    """Renders the visible geoms of a model for its cameras, at one square size."""

    def __init__(self, model: mujoco.MjModel, image_size: int, rendering: Rendering) -> None:
        self._model, self._size, fast = model, image_size, rendering == "fast"
        self._option = _scene_option()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._scene = mujoco.MjvScene(model, maxgeom=model.ngeom + model.nsite + _SPARE_GEOMS)
        self._geoms = SceneGeoms(self._scene)
        self._shadows, self._reflections = not fast and casts_shadows(model), not fast and has_mirror(model)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = self._shadows
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = self._reflections
        self._graphics = opengl_context()
        self._graphics.use()
        with reduced_detail(model, image_size, rendering):
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        if fast:
            _use_nearest_mipmap(self._graphics.gl, self._context)
        self._own = self._context.offFBO, self._context.offFBO_r
        own_map = self._shadows and supports_shadow_map(model)
        self._shadow_map = ShadowMap(model, self._graphics.gl, self._context) if own_map else None
        self._stencil = self._reflections
        self._frames: list[Framebuffer] = []
        self._rectangle = mujoco.MjrRect(0, 0, image_size, image_size)
        self._pixels = np.empty((image_size, image_size, 3), dtype=np.uint8)
        self._graphics.close_after(self)

    @property
    def model_bytes(self) -> int:
        """The size of the model, which exists as long as its renderer; OpenGL uses about as much in addition."""
        return int(self._model.nbuffer)

    def images(self, data: mujoco.MjData, cameras: Mapping[str, str]) -> dict[str, ImageArray]:
        """Return a new (H, W, 3) image, right side up, of each of the model's `cameras`, under its key.

        All images are rendered before the first is read, so that software OpenGL can use all its threads.
        """
        self._begin()
        self._render_shadows(data, list(cameras.values()))
        for frame, camera in zip(self._frames_for(len(cameras)), cameras.values(), strict=True):
            self._render(data, camera, frame)
            self._graphics.gl.glFlush()
        return {name: self._read(frame) for name, frame in zip(cameras, self._frames, strict=False)}

    def depth(self, data: mujoco.MjData, camera: str) -> NDArray[np.float32]:
        """Return a new (H, W) depth image [m]."""
        self._begin()
        (frame,) = self._frames_for(1)
        with self._numbered():
            self._render(data, camera, frame)
        raw = np.empty((self._size, self._size), dtype=np.float32)
        mujoco.mjr_readPixels(None, raw, self._rectangle, self._context)
        return _linear_depth(raw[::-1], self._model)

    def segmentation(self, data: mujoco.MjData, camera: str, segment_of_geom: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the segment of the geom that each pixel shows, (H, W); the last segment for pixels without geom."""
        self._begin()
        (frame,) = self._frames_for(1)
        with self._numbered():
            self._render(data, camera, frame)
        low, middle, high = np.moveaxis(self._read(frame).astype(np.int32), -1, 0)
        return np.asarray(segment_of_geom[self._geom_of_number()[low + 256 * middle + 65536 * high]])

    def free(self) -> None:
        """Free the OpenGL resources."""
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
        """Free the OpenGL resources, unless creating them failed."""
        if hasattr(self, "_pixels"):
            self.free()

    def _begin(self) -> None:
        self._graphics.use()
        repeats = self._model.mat_texrepeat.ravel()  # copied by the context; perturbations may change it
        self._context.mat_texrepeat[: len(repeats)] = repeats

    def _frames_for(self, cameras: int) -> list[Framebuffer]:
        while len(self._frames) < cameras:
            self._frames.append(
                Framebuffer(self._graphics.gl, self._size, self._context.offSamples, stencil=self._stencil)
            )
        return self._frames[:cameras]

    def _render_shadows(self, data: mujoco.MjData, cameras: Sequence[str]) -> None:
        """Render the shadow map for all cameras, unless MuJoCo renders its own."""
        if self._shadow_map is None or not cameras:
            return
        self._fill_scene(data, cameras[0])
        eyes = []
        for camera in cameras:
            self._camera.fixedcamid = self._model.camera(camera).id
            mujoco.mjv_updateCamera(self._model, data, self._camera, self._scene)
            eyes.append(self._geoms.eye())
        self._shadow_map.render(self._scene, self._geoms, eyes)

    def _fill_scene(self, data: mujoco.MjData, camera: str) -> None:
        self._camera.fixedcamid = self._model.camera(camera).id
        all_kinds = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, self._option, None, self._camera, all_kinds, self._scene)

    def _render(self, data: mujoco.MjData, camera: str, frame: Framebuffer) -> None:
        self._fill_scene(data, camera)
        if self._shadow_map:
            self._shadow_map.use(self._scene, self._geoms)
        if self._shadow_map or not self._shadows:  # otherwise invisible geoms may cast visible shadows
            self._geoms.cull(reflections=self._reflections)
        frame.use(self._context)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        mujoco.mjr_render(self._rectangle, self._scene, self._context)

    def _read(self, frame: Framebuffer) -> ImageArray:
        frame.use(self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._rectangle, self._context)
        return self._pixels[::-1].copy()  # OpenGL's first line is at the bottom

    @contextmanager
    def _numbered(self) -> Iterator[None]:
        """Render each geom in a color that encodes its number; this also gives the most exact depth."""
        before = self._scene.flags.copy()
        for flag in (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR):
            self._scene.flags[flag] = True
        try:
            yield
        finally:
            self._scene.flags[:] = before

    def _geom_of_number(self) -> NDArray[np.int32]:
        """Return the geom id of each rendered number, -1 for other elements; number 0 is the background."""
        geoms = self._geoms.all()
        found = np.full(self._scene.maxgeom + 1, -1, dtype=np.int32)
        shown = geoms[(geoms["segid"] >= 0) & (geoms["objtype"] == mujoco.mjtObj.mjOBJ_GEOM.value)]
        found[shown["segid"] + 1] = shown["objid"]
        return found


def shared_renderer(model: mujoco.MjModel, image_size: int, rendering: Rendering) -> Renderer:
    """Return this process's renderer for a model (by identity), size and quality, created on first use."""
    return _renderers(model, image_size, rendering)


def _create_renderer(model: mujoco.MjModel, image_size: int, rendering: Rendering) -> Renderer:
    renderer = Renderer(model, image_size, rendering)
    give_back_free_memory()  # that creating the context used
    return renderer


_renderers = SizedCache(_create_renderer, lambda renderer: renderer.model_bytes, _CACHE_BYTES)


def _scene_option() -> mujoco.MjvOption:
    option = mujoco.MjvOption()
    option.geomgroup[:] = 0
    option.geomgroup[VISUAL_GROUP] = 1
    option.sitegroup[:] = 0
    return option


def _use_nearest_mipmap(gl: Any, context: mujoco.MjrContext) -> None:
    """Sample the nearest mipmap level instead of interpolating between two, which halves the work per pixel."""
    for number in range(context.ntexture):
        flat = context.textureType[number] == mujoco.mjtTexture.mjTEXTURE_2D
        target = gl.GL_TEXTURE_2D if flat else gl.GL_TEXTURE_CUBE_MAP
        gl.glBindTexture(target, int(context.texture[number]))
        gl.glTexParameteri(target, gl.GL_TEXTURE_MIN_FILTER, gl.GL_LINEAR_MIPMAP_NEAREST)


def _linear_depth(raw: NDArray[np.float32], model: mujoco.MjModel) -> NDArray[np.float32]:
    """Convert a depth buffer, in which MuJoCo's near is 1 and far is 0, into distances [m]."""
    extent = model.stat.extent
    near, far = np.float32(model.vis.map.znear * extent), np.float32(model.vis.map.zfar * extent)
    offset = np.float32(0.5) * (far + near) / (far - near) - np.float32(0.5)
    scale = np.float32(far * near) / (far - near)
    return np.asarray(scale / (raw.astype(np.float64) + offset), dtype=np.float32)
