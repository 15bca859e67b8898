"""MuJoCo's shadow map, rendered once for all cameras and only where they can see a shadow.

MuJoCo renders the whole scene into a square of 4096 texels for each camera. Here the same texels are rendered by the
same rules, but only those that can hold a visible shadow: the square is cropped at whole texels, so that shadows stay
where they were. MuJoCo then renders with this map instead of its own, which is almost empty.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.types import FloatArray
from vla_bench.envs.rendering.culling import SceneGeoms
from vla_bench.envs.rendering.mesh_simplification import Tolerance, simplify_mesh_arrays

OWN_TEXELS = 4  # side length of MuJoCo's own map when this one is used
_STEP = 128  # texels; side lengths of maps are multiples
_MARGIN = 2  # texels around the casters: the outermost stay empty, and everything beyond is lit
_OFFSET = (-1.5, -4.0)  # MuJoCo's polygon offset (factor and units) against self-shadowing
_SPHERE, _SPHERE_TOP, _SPHERE_BOTTOM, _CYLINDER, _CYLINDER_OPEN, _BOX = 0, 1, 2, 3, 4, 6  # MuJoCo's display lists
_UNIT_LISTS = {
    int(mujoco.mjtGeom.mjGEOM_SPHERE): _SPHERE,
    int(mujoco.mjtGeom.mjGEOM_ELLIPSOID): _SPHERE,
    int(mujoco.mjtGeom.mjGEOM_CYLINDER): _CYLINDER,
    int(mujoco.mjtGeom.mjGEOM_BOX): _BOX,
}
_PLANE, _CAPSULE, _MESH = (
    int(kind) for kind in (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_MESH)
)
_NOT_CASTING = int(mujoco.mjtCatBit.mjCAT_DECOR)
_TOLERANCE = Tolerance(share=1 / 2000, least_m=0.00005, most_m=0.0005)  # less than a texel, which is 1.2 mm wide


class ShadowCasterMeshes:
    """OpenGL display lists of simplified meshes, positions only, created on first use."""

    def __init__(self, model: mujoco.MjModel, gl: Any) -> None:
        self._model, self._gl = model, gl
        self._first = int(gl.glGenLists(max(model.nmesh, 1)))
        self._created: set[int] = set()

    def list_of(self, mesh: int) -> int:
        """Return the number of a mesh's display list."""
        if mesh not in self._created:
            self._create(mesh)
            self._created.add(mesh)
        return self._first + mesh

    def free(self) -> None:
        """Free the display lists."""
        self._gl.glDeleteLists(self._first, max(self._model.nmesh, 1))
        self._created.clear()

    def _create(self, mesh: int) -> None:
        gl, (vertices, faces, _) = self._gl, simplify_mesh_arrays(*_mesh_arrays(self._model, mesh), _TOLERANCE)
        gl.glNewList(self._first + mesh, gl.GL_COMPILE)
        gl.glEnableClientState(gl.GL_VERTEX_ARRAY)
        gl.glVertexPointer(3, gl.GL_FLOAT, 0, np.ascontiguousarray(vertices, dtype=np.float32))
        gl.glDrawElements(gl.GL_TRIANGLES, faces.size, gl.GL_UNSIGNED_INT, faces.ravel().astype(np.uint32))
        gl.glDisableClientState(gl.GL_VERTEX_ARRAY)
        gl.glEndList()


def _mesh_arrays(model: mujoco.MjModel, mesh: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    vertex, face = model.mesh_vertadr[mesh], model.mesh_faceadr[mesh]
    vertices = model.mesh_vert[vertex : vertex + model.mesh_vertnum[mesh]]
    return vertices, model.mesh_face[face : face + model.mesh_facenum[mesh]]


def supports_shadow_map(model: mujoco.MjModel) -> bool:
    """Return whether this map supports a model: one directional light casts shadows, of the usual geom types only."""
    lights = np.flatnonzero(model.light_castshadow)
    known = {_PLANE, _CAPSULE, _MESH, *_UNIT_LISTS}
    directional = model.light_type[lights] == int(mujoco.mjtLightType.mjLIGHT_DIRECTIONAL)
    return len(lights) == 1 and bool(directional.all()) and set(model.geom_type.tolist()) <= known and not model.nflex


class _Crop(NamedTuple):
    """The rendered part of MuJoCo's map, in its texels."""

    left: int
    bottom: int
    side: int


class ShadowMap:
    """The shadow map of a model's scenes."""

    def __init__(self, model: mujoco.MjModel, gl: Any, context: mujoco.MjrContext) -> None:
        """Replace the context's own map, which `free` restores."""
        self._model, self._gl, self._context = model, gl, context
        self._own = context.shadowTex
        self._texels, self._clip_m = int(model.vis.quality.shadowsize), float(context.shadowClip)
        self._meshes = ShadowCasterMeshes(model, gl)
        self._maps: dict[int, tuple[int, int]] = {}  # framebuffer and texture by their side
        self._light_position: FloatArray = np.zeros(3)
        self._light = 0

    def render(self, scene: mujoco.MjvScene, geoms: SceneGeoms, eyes: Sequence[NDArray[np.float32]]) -> None:
        """Render the map of a scene for all `eyes`, as returned by `SceneGeoms.eye`."""
        light = self._shadow_light(scene)
        if light is None:
            return
        frame = _light_frame(light.dir)
        casters = geoms.all()
        casters = casters[(casters["category"] != _NOT_CASTING) & (casters["type"] != _PLANE)]
        low, high = _extents(casters, self._model, frame, light.pos)
        crop = self._crop(low, high, [_visible_extent(eye, geoms.all(), frame, light.pos) for eye in eyes])
        pixels = (self._texel(low) - (crop.left, crop.bottom), self._texel(high) - (crop.left, crop.bottom))
        inside = ((pixels[1] > 0) & (pixels[0] < crop.side)).all(axis=1)
        framebuffer, texture = self._map(crop.side)
        eye = (scene.camera[0].frustum_near, scene.camera[0].frustum_far)
        self._raster(casters[inside], crop, framebuffer, self._projection(crop, eye), _view(frame, light.pos))
        per_texel = 2 * self._clip_m / self._texels
        shift = (np.array([crop.left, crop.bottom]) - (self._texels - crop.side) / 2) * per_texel
        self._light_position = np.asarray(light.pos, np.float64) + shift @ frame[:2]
        self._context.shadowTex, self._context.shadowClip = texture, crop.side / 2 * per_texel

    def use(self, scene: mujoco.MjvScene, geoms: SceneGeoms) -> None:
        """Let the next rendering of a scene use this map, and prevent MuJoCo from rendering its own."""
        light = self._shadow_light(scene)
        if light is not None:
            light.pos[:] = self._light_position
        geoms.all()["category"] = _NOT_CASTING

    def free(self) -> None:
        """Free the maps and restore the context's own map."""
        self._context.shadowTex = self._own
        framebuffers, textures = ([pair[number] for pair in self._maps.values()] for number in range(2))
        if framebuffers:
            self._gl.glDeleteFramebuffers(len(framebuffers), framebuffers)
            self._gl.glDeleteTextures(len(textures), textures)
        self._maps.clear()
        self._meshes.free()

    def _shadow_light(self, scene: mujoco.MjvScene) -> Any | None:
        return next((light for light in scene.lights[: scene.nlight] if light.castshadow), None)

    def _texel(self, position_m: FloatArray) -> FloatArray:
        """Return the texels of positions in the light's plane in MuJoCo's map, whose outermost texels are empty."""
        texel: FloatArray = 1 + (position_m / self._clip_m + 1) / 2 * (self._texels - 2)
        return texel

    def _crop(self, low: FloatArray, high: FloatArray, visible: Sequence[tuple[FloatArray, FloatArray]]) -> _Crop:
        """Return the crop with all visible shadows: from the light, a shadow is behind its caster."""
        if len(low) == 0:
            return _Crop(0, 0, _STEP)
        first = np.maximum(low.min(axis=0), np.min([begin for begin, _ in visible], axis=0))
        last = np.minimum(high.max(axis=0), np.max([end for _, end in visible], axis=0))
        begin = np.clip(np.floor(self._texel(first)) - _MARGIN, 0, self._texels - 1).astype(int)
        end = np.clip(np.ceil(self._texel(last)) + _MARGIN, begin + 1, self._texels).astype(int)
        side = min(-(-int((end - begin).max()) // _STEP) * _STEP, self._texels)
        left, bottom = np.minimum(begin, self._texels - side).tolist()
        return _Crop(left, bottom, side)

    def _projection(self, crop: _Crop, depths_m: tuple[float, float]) -> FloatArray:
        """Return the matrix from the light's view to the crop, with near at 1 and far at 0, as MuJoCo's depth."""
        near, far = depths_m
        matrix = np.zeros((4, 4))
        scale = (self._texels - 2) / 2 / self._clip_m * 2 / crop.side
        for axis, begin in enumerate((crop.left, crop.bottom)):
            matrix[axis, axis], matrix[axis, 3] = scale, (self._texels / 2 - begin) * 2 / crop.side - 1
        matrix[2, 2], matrix[2, 3], matrix[3, 3] = 1 / (far - near), far / (far - near), 1
        return matrix

    def _raster(
        self, casters: NDArray[Any], crop: _Crop, framebuffer: int, projection: FloatArray, view: FloatArray
    ) -> None:
        gl = self._gl
        gl.glPushAttrib(gl.GL_ALL_ATTRIB_BITS)
        gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, framebuffer)
        _only_depth(gl)
        gl.glViewport(0, 0, crop.side, crop.side)
        gl.glClear(gl.GL_DEPTH_BUFFER_BIT)
        gl.glEnable(gl.GL_SCISSOR_TEST)
        gl.glScissor(1, 1, crop.side - 2, crop.side - 2)
        gl.glMatrixMode(gl.GL_PROJECTION)
        gl.glLoadMatrixf(_column_major(projection))
        gl.glMatrixMode(gl.GL_MODELVIEW)
        for matrix, number in _display_lists(casters, view, self._meshes, self._context.baseBuiltin):
            gl.glLoadMatrixf(matrix)
            gl.glCallList(number)
        gl.glPopAttrib()

    def _map(self, side: int) -> tuple[int, int]:
        if side not in self._maps:
            self._maps[side] = _create_map(self._gl, side)
        return self._maps[side]


def _create_map(gl: Any, side: int) -> tuple[int, int]:
    """Return a framebuffer and its depth comparison texture, with 24 bits as MuJoCo's."""
    texture, framebuffer = int(gl.glGenTextures(1)), int(gl.glGenFramebuffers(1))
    gl.glActiveTexture(gl.GL_TEXTURE1)
    gl.glBindTexture(gl.GL_TEXTURE_2D, texture)
    gl.glTexImage2D(
        gl.GL_TEXTURE_2D, 0, gl.GL_DEPTH_COMPONENT24, side, side, 0, gl.GL_DEPTH_COMPONENT, gl.GL_UNSIGNED_INT, None
    )
    parameters: Mapping[int, int] = {
        gl.GL_TEXTURE_MIN_FILTER: gl.GL_NEAREST,
        gl.GL_TEXTURE_MAG_FILTER: gl.GL_NEAREST,
        gl.GL_TEXTURE_WRAP_S: gl.GL_CLAMP_TO_EDGE,
        gl.GL_TEXTURE_WRAP_T: gl.GL_CLAMP_TO_EDGE,
        gl.GL_TEXTURE_COMPARE_MODE: gl.GL_COMPARE_R_TO_TEXTURE,
        gl.GL_TEXTURE_COMPARE_FUNC: gl.GL_GEQUAL,
        gl.GL_DEPTH_TEXTURE_MODE: gl.GL_INTENSITY,
    }
    for name, value in parameters.items():
        gl.glTexParameteri(gl.GL_TEXTURE_2D, name, value)
    gl.glActiveTexture(gl.GL_TEXTURE0)
    gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, framebuffer)
    gl.glFramebufferTexture2D(gl.GL_FRAMEBUFFER, gl.GL_DEPTH_ATTACHMENT, gl.GL_TEXTURE_2D, texture, 0)
    gl.glDrawBuffer(gl.GL_NONE)
    gl.glReadBuffer(gl.GL_NONE)
    return framebuffer, texture


def _only_depth(gl: Any) -> None:
    for name in ("LIGHTING", "BLEND", "ALPHA_TEST", "STENCIL_TEST", "SCISSOR_TEST", "FOG"):
        gl.glDisable(getattr(gl, f"GL_{name}"))
    gl.glColorMask(False, False, False, False)
    gl.glClipControl(gl.GL_LOWER_LEFT, gl.GL_ZERO_TO_ONE)
    gl.glEnable(gl.GL_DEPTH_TEST)
    gl.glDepthFunc(gl.GL_GEQUAL)
    gl.glDepthMask(True)
    gl.glDepthRange(0, 1)
    gl.glClearDepth(0)
    gl.glPolygonMode(gl.GL_FRONT_AND_BACK, gl.GL_FILL)
    gl.glEnable(gl.GL_CULL_FACE)  # a face away from the light is behind one towards it
    gl.glFrontFace(gl.GL_CCW)
    gl.glCullFace(gl.GL_BACK)
    gl.glEnable(gl.GL_POLYGON_OFFSET_FILL)
    gl.glPolygonOffset(*_OFFSET)


def _light_frame(direction: NDArray[np.float32]) -> FloatArray:
    """Return the light's right, up and backward axes, (3, 3), as MuJoCo chooses them."""
    ahead = np.asarray(direction, np.float64) / np.linalg.norm(direction)
    up = np.cross(ahead, (-1.0, 0.0, 0.0))
    if up @ up <= 0.01:
        up = np.cross(ahead, (0.0, 1.0, 0.0))
    right = np.cross(ahead, up)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(right, ahead), -ahead])


def _view(frame: FloatArray, position: NDArray[np.float32]) -> FloatArray:
    view = np.eye(4)
    view[:3, :3], view[:3, 3] = frame, -frame @ position
    return view


def _extents(
    casters: NDArray[Any], model: mujoco.MjModel, frame: FloatArray, position: NDArray[np.float32]
) -> tuple[FloatArray, FloatArray]:
    """Return the lowest and highest corner of each caster in the light's plane, (n, 2) each [m]."""
    boxes = model.geom_aabb[casters["objid"]]
    axes = frame[:2] @ casters["mat"].reshape(-1, 3, 3)
    centers = (casters["pos"] - position) @ frame[:2].T + np.einsum("nij,nj->ni", axes, boxes[:, :3])
    half = np.einsum("nij,nj->ni", np.abs(axes), boxes[:, 3:])
    return centers - half, centers + half


def _visible_extent(
    eye: NDArray[np.float32], geoms: NDArray[Any], frame: FloatArray, position: NDArray[np.float32]
) -> tuple[FloatArray, FloatArray]:
    """Return the lowest and highest corner of the visible volume above the floor, in the light's plane.

    The result is unbounded without a plane that bounds the whole view.
    """
    ahead, up = eye[3:6].astype(np.float64), eye[6:9].astype(np.float64)
    right = np.cross(ahead, up)
    half_width = eye[10] or (eye[12] - eye[11]) / 2
    corners = [(side, end) for side in (eye[9] - half_width, eye[9] + half_width) for end in (eye[11], eye[12])]
    rays = np.array([eye[13] * ahead + side * right + end * up for side, end in corners])
    for plane in geoms[geoms["type"] == _PLANE]:
        normal = plane["mat"][2::3]
        height, falls = (eye[:3] - plane["pos"]) @ normal, -(rays @ normal)
        if height > 0 and (falls > 1e-6).all():
            ends = eye[:3] + rays * (height / falls)[:, None]
            positions = (np.vstack([eye[None, :3], ends]) - position) @ frame[:2].T
            return positions.min(axis=0), positions.max(axis=0)
    return np.full(2, -np.inf), np.full(2, np.inf)


def _display_lists(
    casters: NDArray[Any], view: FloatArray, meshes: ShadowCasterMeshes, first: int
) -> list[tuple[NDArray[Any], int]]:
    """Return the column-major OpenGL matrix and the display list for each part of each caster."""
    placed = np.zeros((len(casters), 4, 4))
    placed[:, :3, :3], placed[:, :3, 3], placed[:, 3, 3] = casters["mat"].reshape(-1, 3, 3), casters["pos"], 1
    scaled = casters["type"] != _MESH
    placed[scaled, :3, :3] *= casters["size"][scaled][:, None, :]
    matrices = _column_major(view @ placed)
    found = []
    for matrix, kind, data, size in zip(matrices, casters["type"], casters["dataid"], casters["size"], strict=True):
        if kind == _MESH:
            found.append((matrix, meshes.list_of(int(data) // 2)))  # MuJoCo has two display lists per mesh
        elif kind == _CAPSULE:
            found += _capsule(matrix, size, first)
        else:
            found.append((matrix, first + _UNIT_LISTS[int(kind)]))
    return found


def _capsule(cylinder: NDArray[np.float32], size: FloatArray, first: int) -> list[tuple[NDArray[Any], int]]:
    """Return the cylinder and the two half spheres of a capsule."""
    parts = [(cylinder, first + _CYLINDER_OPEN)]
    radius = (size[0] + size[1]) / 2
    for end, number in ((1, _SPHERE_TOP), (-1, _SPHERE_BOTTOM)):
        half = cylinder.copy()
        half[2] *= radius / size[2]
        half[3] += end * (size[2] - radius) / size[2] * cylinder[2]
        parts.append((half, first + number))
    return parts


def _column_major(matrices: FloatArray) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.swapaxes(matrices, -1, -2), dtype=np.float32)
