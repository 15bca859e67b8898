"""Visual meshes with fewer faces. Software rendering is bound by vertices; collision geometry is never touched."""

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.paths import cache_folder, written_whole
from vla_bench.core.types import FloatArray

FAST_FACES = 160  # most faces that a visual mesh keeps at quality `fast`

Mesh = tuple[FloatArray, NDArray[np.int32]]  # vertices (V, 3) [m], faces (F, 3)


def simplify_visual_meshes(spec: mujoco.MjSpec, folder: Path, most_faces: int) -> None:
    """Replace the meshes in `spec` that only purely visual geoms use by simplified ones; files lie below `folder`."""
    drawn = {geom.meshname for geom in spec.geoms if geom.meshname}
    solid = {geom.meshname for geom in spec.geoms if geom.meshname and (geom.contype or geom.conaffinity)}
    for mesh in spec.meshes:
        if mesh.name in drawn - solid and mesh.file:
            vertices, faces = simplified(folder / spec.meshdir / mesh.file, most_faces)
            mesh.file = ""
            mesh.uservert = vertices.ravel()
            mesh.userface = faces.ravel()


def simplified(path: Path, most_faces: int) -> Mesh:
    """Return vertices and faces of a mesh file, at most about `most_faces`; kept in the cache folder."""
    key = hashlib.sha256(path.read_bytes() + str(most_faces).encode()).hexdigest()[:20]
    cached = cache_folder() / "meshes" / f"{key}.npz"
    arrays = read_arrays(cached, ("vertices", "faces"))
    if arrays is None:
        arrays = _simplify(path, most_faces)
        write_arrays(cached, {"vertices": arrays[0], "faces": arrays[1]})
    vertices, faces = arrays
    return vertices, faces


def read_arrays(cached: Path, names: Sequence[str]) -> tuple[NDArray[Any], ...] | None:
    """Return the arrays of a file of the cache; None where there is none, or one that is damaged."""
    try:
        with np.load(cached) as arrays:
            return tuple(arrays[name] for name in names)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def write_arrays(cached: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Keep arrays in a file of the cache."""
    with written_whole(cached) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def _simplify(path: Path, most_faces: int) -> Mesh:
    import fast_simplification  # 35 MB in every worker, for what is in the cache after the first run
    import trimesh

    mesh = trimesh.load_mesh(path, process=True)
    # Split vertices (one a face corner, for normals) must be welded first, or the surface falls apart.
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    vertices, faces = np.asarray(mesh.vertices, dtype=np.float32), np.asarray(mesh.faces, dtype=np.int32)
    if len(faces) <= most_faces:
        return vertices, faces
    kept: Mesh = fast_simplification.simplify(vertices, faces, target_count=most_faces)
    return kept if len(kept[1]) >= 4 else (vertices, faces)
