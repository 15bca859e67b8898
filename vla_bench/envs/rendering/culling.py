"""Visibility culling: the geoms of a scene inside a camera's view, nearest first.

Geoms outside the view cost as much as visible ones where rendering is bound by vertices, and hidden geoms cost least
when nearer ones have been rendered before. Neither changes a pixel.
"""

import ctypes
from typing import Any

import mujoco
import numba
import numpy as np
from numpy.typing import NDArray

_WORD = 4  # bytes
_GEOM = np.dtype(  # MuJoCo's `mjvGeom`
    [
        *[(name, "i4") for name in ("type", "dataid", "objtype", "objid", "category", "matid", "texcoord", "segid")],
        *[("size", "f4", 3), ("pos", "f4", 3), ("mat", "f4", 9), ("rgba", "f4", 4)],
        *[(name, "f4") for name in ("emission", "specular", "shininess", "reflectance")],
        *[("label", "S100"), ("camdist", "f4"), ("modelrbound", "f4"), ("transparent", "u1"), ("padding", "u1", 3)],
    ]
)
_OPAQUE = 0.995  # MuJoCo's renderer treats a lower alpha as transparent
_CAMERA_WORDS = 16  # of MuJoCo's `mjvGLCamera`: position, forward, up, then the seven numbers of the view


class SceneGeoms:
    """The geoms of an `MjvScene` as one array, a view of MuJoCo's memory."""

    def __init__(self, scene: mujoco.MjvScene) -> None:
        self._scene = scene
        first, second = (geom.size.ctypes.data for geom in scene.geoms[:2])
        if second - first != _GEOM.itemsize:
            raise RuntimeError(
                f"The layout of `mjvGeom` in MuJoCo {mujoco.__version__} differs from that of 3.9. Install mujoco<3.10."
            )
        begin = first - _GEOM.fields["size"][1]  # type: ignore[index]
        self._geoms = _memory(begin, scene.maxgeom * _GEOM.itemsize).view(_GEOM)
        self._words = self._geoms.view(np.int32).reshape(scene.maxgeom, -1)
        eyes = _memory(scene.camera[0].pos.ctypes.data, 2 * _CAMERA_WORDS * _WORD)
        self._eyes: NDArray[np.float32] = eyes.view(np.float32).reshape(2, _CAMERA_WORDS)

    def all(self) -> NDArray[Any]:
        """Return the scene's geoms, a structured array with MuJoCo's names."""
        return self._geoms[: self._scene.ngeom]

    def eye(self) -> NDArray[np.float32]:
        """Return a copy of the scene's camera: position, forward, up, then center, width, bottom, top, near, far."""
        return np.asarray((self._eyes[0] + self._eyes[1]) / 2)

    def cull(self, *, reflections: bool = False) -> None:
        """Remove geoms outside the camera's view from the scene and sort the others, nearest first.

        With `reflections`, geoms that the mirror can show stay too, and so does the order: MuJoCo's mirror is the first
        reflective geom. Geoms keep their `segid`.
        """
        mirror = self._mirror() if reflections else None
        words = self._words[: self._scene.ngeom]
        if mirror is None:
            self._scene.ngeom = _cull(words, self._eyes, -1, np.zeros((2, 3), np.float32))
        else:
            self._scene.ngeom = _cull(words, self._eyes, *mirror)

    def _mirror(self) -> tuple[int, NDArray[np.float32]] | None:
        """Return the index of the reflective geom, with a point of its surface and the normal there, (2, 3)."""
        geoms = self.all()
        flat = (geoms["type"] == mujoco.mjtGeom.mjGEOM_PLANE) | (geoms["type"] == mujoco.mjtGeom.mjGEOM_BOX)
        rows = np.flatnonzero(flat & (geoms["reflectance"] > 0) & (geoms["rgba"][:, 3] >= _OPAQUE))
        if len(rows) == 0:
            return None
        geom = geoms[rows[0]]
        normal = geom["mat"][2::3]
        height = geom["size"][2] if geom["type"] == mujoco.mjtGeom.mjGEOM_BOX else 0.0
        return int(rows[0]), np.stack([geom["pos"] + height * normal, normal])


def _memory(address: int, size: int) -> NDArray[np.uint8]:
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


_POSITION = _GEOM.fields["pos"][1] // _WORD  # type: ignore[index]
_RADIUS = _GEOM.fields["modelrbound"][1] // _WORD  # type: ignore[index]


@numba.njit(cache=True)
def _cull(words: Any, eyes: Any, mirror: int, plane: Any) -> int:
    """Move the visible geoms to the front of `words`, in order, and return their number.

    A geom is invisible if its bounding sphere is completely beyond one side of the view, and so is the sphere's image
    in the mirror. A radius of 0 means unbounded, such as a plane: the geom stays and is rendered last. The geom with
    index `mirror` (-1: none) stays, and with a mirror the order does not change.
    """
    eye = (eyes[0] + eyes[1]) / 2
    sides, floats = _sides(eye), words.view(np.float32)
    distance, found, seen = np.zeros(len(words), np.float32), np.empty(len(words), np.int64), 0
    for row in range(len(words)):
        radius, place = floats[row, _RADIUS], floats[row, _POSITION : _POSITION + 3]
        image = place - 2 * np.sum((place - plane[0]) * plane[1]) * plane[1]
        endless = radius == 0 or row == mirror
        if endless or _in_view(place - eye[0:3], radius, sides) or _in_view(image - eye[0:3], radius, sides):
            if mirror < 0:
                distance[seen] = np.inf if endless else np.sum(eye[3:6] * (place - eye[0:3]))
            found[seen], seen = row, seen + 1
    kept = words[found[:seen][np.argsort(distance[:seen], kind="mergesort")]]
    words[:seen] = kept
    return seen


@numba.njit(cache=True)
def _in_view(place: Any, radius: float, sides: Any) -> bool:
    seen = True
    for side in range(len(sides)):
        seen = seen and np.sum(sides[side] * place) <= radius
    return seen


@numba.njit(cache=True)
def _sides(eye: Any) -> Any:
    """Return the outward normals of the view's four side planes and of the plane behind the camera, (5, 3)."""
    ahead, up = eye[3:6], eye[6:9]
    right = np.cross(ahead, up)
    center, half_width, bottom, top, near = eye[9], eye[10], eye[11], eye[12], eye[13]
    if half_width == 0:
        half_width = (top - bottom) / 2  # images are square
    sides = np.empty((5, 3), np.float32)
    sides[0] = near * right - (center + half_width) * ahead
    sides[1] = (center - half_width) * ahead - near * right
    sides[2] = near * up - top * ahead
    sides[3] = bottom * ahead - near * up
    sides[4] = -ahead
    for side in range(5):
        sides[side] /= np.sqrt(np.sum(sides[side] ** 2))
    return sides
