"""Visual meshes with as few faces as a bound on their error allows; texture coordinates are kept.

meshoptimizer's quadric simplification (https://meshoptimizer.org) only leaves vertices out, so that what remains has
the original's place in its texture.
"""

import ctypes
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import meshoptimizer
import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.paths import cache_folder
from vla_bench.core.rotations import quat_wxyz_to_matrix
from vla_bench.core.types import FloatArray
from vla_bench.envs.meshes import read_arrays, write_arrays

_TEXTURE_TOLERANCE = 0.01  # of a texture's width, by which its coordinates may be off where the surface is off most
_ROUNDING = 6  # decimals; vertices that agree to it are one


class Tolerance(NamedTuple):
    """How far a surface may move: a share of the mesh's longest side, within limits."""

    share: float
    least_m: float
    most_m: float

    def error_m(self, size_m: float) -> float:
        """Return the bound for a mesh of this size."""
        return min(max(self.share * size_m, self.least_m), self.most_m)


class Surface(NamedTuple):
    """A mesh in the frame of its file."""

    vertices: FloatArray  # (V, 3), in the file's unit
    faces: NDArray[np.int32]  # (F, 3)
    texture: FloatArray  # (V, 2), coordinates as MuJoCo has them; (0, 2) without


def within(path: Path, tolerance: Tolerance, *, scale: float, textured: bool) -> Surface:
    """Return a mesh file's surface, in the file's unit of `scale` metres; kept in the cache folder."""
    version = f"bounded 1, {tolerance}, {scale:.9g}, {textured}"
    key = hashlib.sha256(path.read_bytes() + version.encode()).hexdigest()
    return _kept(key, lambda: _bounded(_welded(_loaded(path), textured=textured), tolerance, scale))


def within_arrays(vertices: NDArray[np.float32], faces: NDArray[np.int32], tolerance: Tolerance) -> Surface:
    """Return the surface of faces (F, 3) on vertices (V, 3) [m], without texture; kept in the cache folder."""
    content = vertices.tobytes() + faces.tobytes()
    key = hashlib.sha256(content + f"arrays 1, {tolerance}".encode()).hexdigest()
    return _kept(key, lambda: _bounded(_welded({"place": vertices[faces.ravel()]}, textured=False), tolerance, 1.0))


def put(surface: Surface, mesh: Any) -> None:
    """Let a mesh of an `MjSpec` be this surface instead of its file's; MuJoCo computes the normals anew."""
    mesh.file = ""
    mesh.uservert, mesh.userface = surface.vertices.ravel(), surface.faces.ravel()
    if len(surface.texture):
        mesh.usertexcoord, mesh.userfacetexcoord = surface.texture.ravel(), surface.faces.ravel()


def _kept(key: str, make: Callable[[], Surface]) -> Surface:
    cached = cache_folder() / "meshes" / f"{key[:20]}.npz"
    arrays = read_arrays(cached, Surface._fields)
    if arrays is None:
        surface = make()
        write_arrays(cached, surface._asdict())
        return surface
    return Surface(*arrays)


def _bounded(surface: Surface, tolerance: Tolerance, scale: float) -> Surface:
    size = float(np.ptp(surface.vertices, axis=0).max())
    return _simplified(surface, tolerance.error_m(size * scale) / scale)


def _loaded(path: Path) -> Mapping[str, NDArray[Any]]:
    """Return corners of faces as MuJoCo reads them: `place` (3 F, 3) and, where there is any, `texture` (3 F, 2)."""
    spec = mujoco.MjSpec()
    mesh = spec.add_mesh(name="mesh", file=str(path))
    mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL  # asks nothing of the surface
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="mesh")
    model = spec.compile()
    vertices = model.mesh_vert @ quat_wxyz_to_matrix(model.mesh_quat[0]).T + model.mesh_pos[0]  # as in the file
    corners = {"place": vertices[model.mesh_face.ravel()]}
    if model.mesh_texcoordadr[0] >= 0:
        corners["texture"] = model.mesh_texcoord[model.mesh_facetexcoord.ravel()]
    return corners


def _welded(corners: Mapping[str, NDArray[Any]], *, textured: bool) -> Surface:
    """Make one vertex of all corners at the same place, and, where it matters, of the texture: seams must not tear."""
    parts = [corners["place"]]
    if textured and "texture" in corners:
        parts.append(corners["texture"])
    rows, index = np.unique(np.round(np.hstack(parts), _ROUNDING), axis=0, return_inverse=True)
    faces = index.reshape(-1, 3).astype(np.int32)
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    return Surface(rows[:, :3].astype(np.float32), faces, rows[:, 3:].astype(np.float32))


def _simplified(surface: Surface, error: float) -> Surface:
    vertices, faces, texture = surface
    size = float(np.ptp(vertices, axis=0).max())
    attributes = np.ascontiguousarray(texture if texture.size else np.zeros((len(vertices), 1)), dtype=np.float32)
    weights = np.full(attributes.shape[1], error / size / _TEXTURE_TOLERANCE, dtype=np.float32)
    kept = np.empty(faces.size, dtype=np.uint32)
    words, options = ctypes.c_size_t, meshoptimizer.SIMPLIFY_ERROR_ABSOLUTE | meshoptimizer.SIMPLIFY_PRUNE
    count = meshoptimizer.simplify_with_attributes(  # the package (0.2.30a0) declares no types: they are given here
        kept,
        faces.ravel().astype(np.uint32),
        np.ascontiguousarray(vertices, dtype=np.float32),
        attributes,
        weights,
        index_count=words(faces.size),
        vertex_count=words(len(vertices)),
        vertex_positions_stride=words(12),
        vertex_attributes_stride=words(4 * attributes.shape[1]),
        attribute_count=words(len(weights)),
        target_index_count=words(0),
        target_error=ctypes.c_float(error),
        options=ctypes.c_uint(options),
    )
    if count < 3 * 4:  # MuJoCo wants a body
        return surface
    used, index = np.unique(kept[:count], return_inverse=True)
    return Surface(vertices[used], index.reshape(-1, 3).astype(np.int32), texture[used] if texture.size else texture)
