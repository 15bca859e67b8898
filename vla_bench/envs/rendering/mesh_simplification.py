"""Simplification of visual meshes to a number of faces or within an error bound.

Collision meshes are never changed. Software rendering is bound by vertices. Bounded simplification is
meshoptimizer's quadric simplification (https://meshoptimizer.org): it only removes vertices, so that
texture coordinates are kept.
"""

import ctypes
import hashlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import meshoptimizer
import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.files import cache_folder, written_whole
from vla_bench.core.geometry import quat_wxyz_to_matrix
from vla_bench.core.types import FloatArray

FAST_FACES = 160  # maximum number of faces of a visual mesh at quality `fast`
_TEXTURE_TOLERANCE = 0.01  # of a texture's width: coordinate error at the maximum surface error
_ROUNDING = 6  # decimals; vertices that are equal after rounding are merged

Mesh = tuple[FloatArray, NDArray[np.int32]]  # vertices (V, 3) [m], faces (F, 3)


def simplify_visual_meshes(spec: mujoco.MjSpec, folder: Path, max_faces: int) -> None:
    """Simplify the meshes in `spec` that only visual geoms use; their files are located below `folder`."""
    visual = {geom.meshname for geom in spec.geoms if geom.meshname}
    solid = {geom.meshname for geom in spec.geoms if geom.meshname and (geom.contype or geom.conaffinity)}
    for mesh in spec.meshes:
        if mesh.name in visual - solid and mesh.file:
            vertices, faces = simplify_to_face_count(folder / spec.meshdir / mesh.file, max_faces)
            mesh.file = ""
            mesh.uservert = vertices.ravel()
            mesh.userface = faces.ravel()


def simplify_to_face_count(path: Path, max_faces: int) -> Mesh:
    """Return vertices and at most about `max_faces` faces of a mesh file; the result is cached on disk."""
    key = hashlib.sha256(path.read_bytes() + str(max_faces).encode()).hexdigest()[:20]
    cached = cache_folder() / "meshes" / f"{key}.npz"
    arrays = read_cached_arrays(cached, ("vertices", "faces"))
    if arrays is None:
        arrays = _compute_simplified(path, max_faces)
        write_cached_arrays(cached, {"vertices": arrays[0], "faces": arrays[1]})
    vertices, faces = arrays
    return vertices, faces


def read_cached_arrays(cached: Path, names: Sequence[str]) -> tuple[NDArray[Any], ...] | None:
    """Return the arrays of a cache file; None if it is missing or damaged."""
    try:
        with np.load(cached) as arrays:
            return tuple(arrays[name] for name in names)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def write_cached_arrays(cached: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to a cache file."""
    with written_whole(cached) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def _compute_simplified(path: Path, max_faces: int) -> Mesh:
    import fast_simplification  # uses 35 MB, and is needed only until the mesh is cached
    import trimesh

    mesh = trimesh.load_mesh(path, process=True)
    # Vertices that are split per face corner, for normals, must be merged first, or the surface tears.
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    vertices, faces = np.asarray(mesh.vertices, dtype=np.float32), np.asarray(mesh.faces, dtype=np.int32)
    if len(faces) <= max_faces:
        return vertices, faces
    simplified: Mesh = fast_simplification.simplify(vertices, faces, target_count=max_faces)
    return simplified if len(simplified[1]) >= 4 else (vertices, faces)


class Tolerance(NamedTuple):
    """The allowed surface error: a fraction of the mesh's longest side, within limits."""

    share: float
    least_m: float
    most_m: float

    def error_m(self, size_m: float) -> float:
        """Return the error bound for a mesh of this size."""
        return min(max(self.share * size_m, self.least_m), self.most_m)


class Surface(NamedTuple):
    """A mesh in the frame of its file."""

    vertices: FloatArray  # (V, 3), in the file's unit
    faces: NDArray[np.int32]  # (F, 3)
    texture: FloatArray  # (V, 2), MuJoCo's texture coordinates; of size 0 without a texture


def simplify_mesh_file(path: Path, tolerance: Tolerance, *, scale: float, textured: bool) -> Surface:
    """Return a mesh file's simplified surface, in the file's unit of `scale` meters; cached on disk."""
    version = f"bounded 1, {tolerance}, {scale:.9g}, {textured}"
    key = hashlib.sha256(path.read_bytes() + version.encode()).hexdigest()
    return _cached_surface(
        key, lambda: _simplify_by_size(_weld(_load_corners(path), textured=textured), tolerance, scale)
    )


def simplify_mesh_arrays(vertices: NDArray[np.float32], faces: NDArray[np.int32], tolerance: Tolerance) -> Surface:
    """Return the simplified surface of vertices (V, 3) [m] and faces (F, 3), without texture; cached on disk."""
    content = vertices.tobytes() + faces.tobytes()
    key = hashlib.sha256(content + f"arrays 1, {tolerance}".encode()).hexdigest()
    return _cached_surface(
        key, lambda: _simplify_by_size(_weld({"place": vertices[faces.ravel()]}, textured=False), tolerance, 1.0)
    )


def set_mesh_surface(surface: Surface, mesh: Any) -> None:
    """Replace the surface of a mesh of an `MjSpec`; MuJoCo recomputes the normals."""
    mesh.file = ""
    mesh.uservert, mesh.userface = surface.vertices.ravel(), surface.faces.ravel()
    if len(surface.texture):
        mesh.usertexcoord, mesh.userfacetexcoord = surface.texture.ravel(), surface.faces.ravel()


def _cached_surface(key: str, make: Callable[[], Surface]) -> Surface:
    cached = cache_folder() / "meshes" / f"{key[:20]}.npz"
    arrays = read_cached_arrays(cached, Surface._fields)
    if arrays is None:
        surface = make()
        write_cached_arrays(cached, surface._asdict())
        return surface
    return Surface(*arrays)


def _simplify_by_size(surface: Surface, tolerance: Tolerance, scale: float) -> Surface:
    size = float(np.ptp(surface.vertices, axis=0).max())
    return _simplify_within_error(surface, tolerance.error_m(size * scale) / scale)


def _load_corners(path: Path) -> Mapping[str, NDArray[Any]]:
    """Return the face corners that MuJoCo reads: `place` (3 F, 3) and, if there is a texture, `texture` (3 F, 2)."""
    spec = mujoco.MjSpec()
    mesh = spec.add_mesh(name="mesh", file=str(path))
    mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL  # accepts surfaces that are not closed
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="mesh")
    model = spec.compile()
    vertices = model.mesh_vert @ quat_wxyz_to_matrix(model.mesh_quat[0]).T + model.mesh_pos[0]  # as in the file
    corners = {"place": vertices[model.mesh_face.ravel()]}
    if model.mesh_texcoordadr[0] >= 0:
        corners["texture"] = model.mesh_texcoord[model.mesh_facetexcoord.ravel()]
    return corners


def _weld(corners: Mapping[str, NDArray[Any]], *, textured: bool) -> Surface:
    """Merge corners with equal positions and, if `textured`, equal texture coordinates, so that seams do not tear."""
    parts = [corners["place"]]
    if textured and "texture" in corners:
        parts.append(corners["texture"])
    rows, index = np.unique(np.round(np.hstack(parts), _ROUNDING), axis=0, return_inverse=True)
    faces = index.reshape(-1, 3).astype(np.int32)
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    return Surface(rows[:, :3].astype(np.float32), faces, rows[:, 3:].astype(np.float32))


def _simplify_within_error(surface: Surface, error: float) -> Surface:
    vertices, faces, texture = surface
    size = float(np.ptp(vertices, axis=0).max())
    attributes = np.ascontiguousarray(texture if texture.size else np.zeros((len(vertices), 1)), dtype=np.float32)
    weights = np.full(attributes.shape[1], error / size / _TEXTURE_TOLERANCE, dtype=np.float32)
    indices = np.empty(faces.size, dtype=np.uint32)
    words, options = ctypes.c_size_t, meshoptimizer.SIMPLIFY_ERROR_ABSOLUTE | meshoptimizer.SIMPLIFY_PRUNE
    count = meshoptimizer.simplify_with_attributes(  # the package (0.2.30a0) declares no argument types
        indices,
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
    if count < 3 * 4:  # MuJoCo requires a volume
        return surface
    used, index = np.unique(indices[:count], return_inverse=True)
    return Surface(vertices[used], index.reshape(-1, 3).astype(np.int32), texture[used] if texture.size else texture)
