"""Meshes as they cast shadows: OpenGL lists of places alone, simplified by less than a texel of the shadow map."""

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_bench.envs.bounded_meshes import Tolerance, within_arrays

_TOLERANCE = Tolerance(share=1 / 2000, least_m=0.00005, most_m=0.0005)  # a texel is 1.2 mm wide


class CasterMeshes:
    """The lists of those meshes of a model that some geoms show; made when first asked for."""

    def __init__(self, model: mujoco.MjModel, gl: Any) -> None:
        self._model, self._gl = model, gl
        self._first = int(gl.glGenLists(max(model.nmesh, 1)))
        self._made: set[int] = set()

    def list_of(self, mesh: int) -> int:
        """Return the number of a mesh's list."""
        if mesh not in self._made:
            self._make(mesh)
            self._made.add(mesh)
        return self._first + mesh

    def free(self) -> None:
        """Free the lists."""
        self._gl.glDeleteLists(self._first, max(self._model.nmesh, 1))
        self._made.clear()

    def _make(self, mesh: int) -> None:
        gl, (vertices, faces, _) = self._gl, within_arrays(*_arrays(self._model, mesh), _TOLERANCE)
        gl.glNewList(self._first + mesh, gl.GL_COMPILE)
        gl.glEnableClientState(gl.GL_VERTEX_ARRAY)
        gl.glVertexPointer(3, gl.GL_FLOAT, 0, np.ascontiguousarray(vertices, dtype=np.float32))
        gl.glDrawElements(gl.GL_TRIANGLES, faces.size, gl.GL_UNSIGNED_INT, faces.ravel().astype(np.uint32))
        gl.glDisableClientState(gl.GL_VERTEX_ARRAY)
        gl.glEndList()


def _arrays(model: mujoco.MjModel, mesh: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    vertex, face = model.mesh_vertadr[mesh], model.mesh_faceadr[mesh]
    vertices = model.mesh_vert[vertex : vertex + model.mesh_vertnum[mesh]]
    return vertices, model.mesh_face[face : face + model.mesh_facenum[mesh]]
