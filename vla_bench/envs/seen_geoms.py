"""Which geoms of a scene a camera can see, nearest first. MuJoCo draws all that there are, in the model's order.

What lies outside the view costs as much as what is in it, where vertices are what rendering waits for; what is hidden
behind something nearer costs least when that has been drawn before. Neither changes a pixel.
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
_CAMERA_WORDS = 16  # of MuJoCo's `mjvGLCamera`: position, forward, up, then the seven numbers of the view


class SceneGeoms:
    """The geoms of an `MjvScene` as one array on MuJoCo's own memory."""

    def __init__(self, scene: mujoco.MjvScene) -> None:
        self._scene = scene
        first, second = (geom.size.ctypes.data for geom in scene.geoms[:2])
        if second - first != _GEOM.itemsize:
            raise RuntimeError(f"MuJoCo {mujoco.__version__} keeps geoms of a scene in another way than 3.9.")
        begin = first - _GEOM.fields["size"][1]  # type: ignore[index]
        self._geoms = _memory(begin, scene.maxgeom * _GEOM.itemsize).view(_GEOM)
        self._words = self._geoms.view(np.int32).reshape(scene.maxgeom, -1)
        eyes = _memory(scene.camera[0].pos.ctypes.data, 2 * _CAMERA_WORDS * _WORD)
        self._eyes: NDArray[np.float32] = eyes.view(np.float32).reshape(2, _CAMERA_WORDS)

    def all(self) -> NDArray[Any]:
        """Return the scene's geoms, a structured array with MuJoCo's names."""
        return self._geoms[: self._scene.ngeom]

    def keep_seen(self) -> None:
        """Drop from the scene what its camera cannot see, and bring the rest into order: nearest first.

        Numbers of the geoms (`segid`) go with them.
        """
        self._scene.ngeom = _keep_seen(self._words[: self._scene.ngeom], self._eyes)


def _memory(address: int, size: int) -> NDArray[np.uint8]:
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


_POSITION = _GEOM.fields["pos"][1] // _WORD  # type: ignore[index]
_RADIUS = _GEOM.fields["modelrbound"][1] // _WORD  # type: ignore[index]


@numba.njit(cache=True)
def _keep_seen(words: Any, eyes: Any) -> int:
    """Bring the rows to the front that are seen, in order, and return how many they are.

    A row is out of sight when the sphere around its geom lies wholly beyond one side of the view. A radius of 0 is
    MuJoCo's sign for what has no end, such as a plane: it is kept, and drawn last.
    """
    eye = (eyes[0] + eyes[1]) / 2
    sides = _sides(eye)
    floats = words.view(np.float32)
    distance, found, seen = np.empty(len(words), np.float32), np.empty(len(words), np.int64), 0
    for row in range(len(words)):
        radius, apart = floats[row, _RADIUS], floats[row, _POSITION : _POSITION + 3] - eye[0:3]
        outside = False
        for side in range(len(sides)):
            outside = outside or np.sum(sides[side] * apart) > radius
        if radius > 0 and outside:
            continue
        distance[seen] = np.sum(eye[3:6] * apart) if radius > 0 else np.inf
        found[seen], seen = row, seen + 1
    kept = words[found[:seen][np.argsort(distance[:seen], kind="mergesort")]]
    words[:seen] = kept
    return seen


@numba.njit(cache=True)
def _sides(eye: Any) -> Any:
    """Return the outward normals of the planes through the eye that bound its view and of the one behind, (5, 3)."""
    ahead, up = eye[3:6], eye[6:9]
    right = np.cross(ahead, up)
    centre, half_width, bottom, top, near = eye[9], eye[10], eye[11], eye[12], eye[13]
    if half_width == 0:
        half_width = (top - bottom) / 2  # images are square
    sides = np.empty((5, 3), np.float32)
    sides[0] = near * right - (centre + half_width) * ahead
    sides[1] = (centre - half_width) * ahead - near * right
    sides[2] = near * up - top * ahead
    sides[3] = bottom * ahead - near * up
    sides[4] = -ahead
    for side in range(5):
        sides[side] /= np.sqrt(np.sum(sides[side] ** 2))
    return sides
