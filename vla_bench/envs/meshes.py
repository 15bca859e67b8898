"""Visual meshes with fewer faces. Software rendering is bound by vertices; collision geometry is never touched."""

import hashlib
from pathlib import Path

import fast_simplification
import mujoco
import numpy as np
import trimesh
from numpy.typing import NDArray

from vla_bench.core.paths import cache_folder, written_whole
from vla_bench.core.types import FloatArray

FAST_FACES = 160  # most faces that a visual mesh keeps at quality `fast`


def simplify_visual_meshes(spec: mujoco.MjSpec, folder: Path, most_faces: int) -> None:
    """Replace the meshes in `spec` that only purely visual geoms use by simplified ones; files lie below `folder`."""
    visual = {geom.meshname for geom in spec.geoms if geom.meshname and not geom.contype and not geom.conaffinity}
    solid = {geom.meshname for geom in spec.geoms if geom.meshname} - visual
    for mesh in spec.meshes:
        if mesh.name in visual - solid and mesh.file:
            vertices, faces = simplified(folder / spec.meshdir / mesh.file, most_faces)
            mesh.file = ""
            mesh.uservert = vertices.ravel()
            mesh.userface = faces.ravel()


def simplified(path: Path, most_faces: int) -> tuple[FloatArray, NDArray[np.int32]]:
    """Return vertices (V, 3) [m] and faces (F, 3) of a mesh file, at most about `most_faces`; cached on disk."""
    key = hashlib.sha256(path.read_bytes() + str(most_faces).encode()).hexdigest()[:20]
    cached = cache_folder() / "meshes" / f"{key}.npz"
    if not cached.is_file():
        vertices, faces = _simplify(path, most_faces)
        with written_whole(cached) as temporary:
            np.savez(temporary.open("wb"), vertices=vertices, faces=faces)
    with np.load(cached) as arrays:
        return arrays["vertices"], arrays["faces"]


def _simplify(path: Path, most_faces: int) -> tuple[FloatArray, NDArray[np.int32]]:
    mesh = trimesh.load_mesh(path, process=True)
    # Split vertices (one a face corner, for normals) must be welded first, or the surface falls apart.
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    vertices, faces = np.asarray(mesh.vertices, dtype=np.float32), np.asarray(mesh.faces, dtype=np.int32)
    if len(faces) <= most_faces:
        return vertices, faces
    kept: tuple[FloatArray, NDArray[np.int32]] = fast_simplification.simplify(vertices, faces, target_count=most_faces)
    return kept if len(kept[1]) >= 4 else (vertices, faces)
