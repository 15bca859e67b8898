"""Rotations and camera geometry.

Quaternions are wxyz, as in MuJoCo; every name states the order. Rotations use plain floats because they run several
times per control step on a few numbers, where floats are faster than arrays and equal bit for bit. Sines and cosines
are NumPy's, which differ from the C library in the last bit. Cameras look along their -z axis with +y up in the image
(MuJoCo's convention).
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import sqrt

import numpy as np

from vla_bench.core.types import FloatArray


def quat_wxyz_to_matrix(quat_wxyz: FloatArray) -> FloatArray:
    """Return the (3, 3) rotation matrix."""
    quat = np.ascontiguousarray(quat_wxyz, dtype=np.float64)
    w, x, y, z = (quat / _norm(quat)).tolist()
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def quat_wxyz_to_axis_angle(quat_wxyz: FloatArray) -> FloatArray:
    """Return axis times angle, (3,) [rad].

    The sign of the quaternion is kept, so the angle is in 0..2 pi, as in robosuite and LIBERO. A converter that flips
    w < 0 first returns other numbers, which policies trained on their data have never seen.
    """
    w, x, y, z = np.asarray(quat_wxyz, dtype=np.float64).tolist()
    w = min(max(w, -1.0), 1.0)
    sine = sqrt(1.0 - w * w)
    if sine < 1e-9:
        return np.zeros(3)
    angle = 2.0 * float(np.arccos(w))
    return np.array([x * angle / sine, y * angle / sine, z * angle / sine])


def axis_angle_to_quat_wxyz(axis_angle: FloatArray) -> FloatArray:
    """Return the unit quaternion of a rotation vector [rad]."""
    vector = np.ascontiguousarray(axis_angle, dtype=np.float64)
    angle = _norm(vector)
    if angle < 1e-12:
        return np.array([1.0, 0.0, 0.0, 0.0])
    sine, (x, y, z) = float(np.sin(angle / 2)), vector.tolist()
    return np.array([float(np.cos(angle / 2)), sine * x / angle, sine * y / angle, sine * z / angle])


def quat_wxyz_multiply(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the rotation that applies `second`, then `first`."""
    w1, x1, y1, z1 = first
    w2, x2, y2, z2 = second
    return np.array(
        [
            w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
            w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
            w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
            w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
        ]
    )


def yaw_of(quat_wxyz: FloatArray) -> float:
    """Return the rotation about the vertical of the body's x axis [rad]."""
    x_axis = quat_wxyz_to_matrix(quat_wxyz)[:, 0]
    return float(np.arctan2(x_axis[1], x_axis[0]))


def _norm(vector: FloatArray) -> float:
    """Return the length of a contiguous vector, as `np.linalg.norm` computes it."""
    return sqrt(float(vector.dot(vector)))


@dataclass(frozen=True)
class CameraGeometry:
    """A perspective camera with square pixels whose optical axis passes through the image center."""

    position_world: tuple[float, float, float]  # m
    quat_wxyz_world: tuple[float, float, float, float]
    fovy_deg: float = 45.0  # of the whole image height
    moves_with: str | None = None  # body that carries the camera, None if it is fixed in the world

    @cached_property
    def _axes(self) -> FloatArray:
        return quat_wxyz_to_matrix(np.array(self.quat_wxyz_world))

    @cached_property
    def _pose_world(self) -> FloatArray:
        pose: FloatArray = np.eye(4)
        pose[:3, :3] = self._axes * (1.0, -1.0, -1.0)
        pose[:3, 3] = self.position_world
        return pose

    @property
    def right_world(self) -> FloatArray:
        """Image x direction (right) in the world, (3,)."""
        return self._axes[:, 0]

    @property
    def up_world(self) -> FloatArray:
        """Image up direction in the world, (3,)."""
        return self._axes[:, 1]

    @property
    def view_world(self) -> FloatArray:
        """Viewing direction in the world, (3,)."""
        return -self._axes[:, 2]

    @property
    def pose_world(self) -> FloatArray:
        """Camera-to-world transform, (4, 4), in the OpenCV convention: x right, y down, z into the scene."""
        return self._pose_world.copy()

    def intrinsics(self, image_size: int) -> FloatArray:
        """Return the (3, 3) pinhole matrix of a square image [pixels]; (0, 0) is the image corner, as in `project`."""
        focal, middle = _focal(self.fovy_deg, image_size), 0.5 * image_size
        return np.array([[focal, 0.0, middle], [0.0, focal, middle], [0.0, 0.0, 1.0]])

    def project(self, points_world: FloatArray, image_size: int) -> FloatArray:
        """Return columns and rows (..., 2) [pixels] of points (..., 3) in a square image; (0, 0) is the image
        corner.
        """
        offset = np.asarray(points_world) - np.array(self.position_world)
        scale = _focal(self.fovy_deg, image_size)
        depth = offset @ self.view_world
        columns = 0.5 * image_size + scale * (offset @ self.right_world) / depth
        rows = 0.5 * image_size - scale * (offset @ self.up_world) / depth
        return np.stack([columns, rows], axis=-1)


@lru_cache(maxsize=256)
def _focal(fovy_deg: float, image_size: int) -> float:
    """Return the focal length [pixels]."""
    return float(0.5 * image_size / np.tan(np.deg2rad(fovy_deg) / 2))
