"""Where cameras stand, as plain data. MuJoCo's convention: a camera looks along its -z axis, +y is up in the image."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from vla_bench.core.rotations import quat_wxyz_to_matrix
from vla_bench.core.types import FloatArray


@dataclass(frozen=True)
class CameraGeometry:
    """One perspective camera with square pixels, whose optical axis meets the middle of the image."""

    position_world: tuple[float, float, float]  # m
    quat_wxyz_world: tuple[float, float, float, float]
    fovy_deg: float = 45.0  # of the image's whole height
    moves_with: str | None = None  # the body that carries it, None where it stands still in the world

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
        """Direction of the image's columns, to the right, (3,)."""
        return self._axes[:, 0]

    @property
    def up_world(self) -> FloatArray:
        """Direction of the image's rows, upwards, (3,)."""
        return self._axes[:, 1]

    @property
    def view_world(self) -> FloatArray:
        """Direction that the camera looks in, (3,)."""
        return -self._axes[:, 2]

    @property
    def pose_world(self) -> FloatArray:
        """Camera-to-world transform, (4, 4), in OpenCV's convention: x to the right, y down, z into the scene."""
        return self._pose_world.copy()

    def intrinsics(self, image_size: int) -> FloatArray:
        """Return the (3, 3) pinhole matrix of a square image [pixels]; (0, 0) is its corner, as for `project`."""
        focal, middle = _focal(self.fovy_deg, image_size), 0.5 * image_size
        return np.array([[focal, 0.0, middle], [0.0, focal, middle], [0.0, 0.0, 1.0]])

    def project(self, points_world: FloatArray, image_size: int) -> FloatArray:
        """Return columns and rows (..., 2) [pixels] of points (..., 3) in a square image; (0, 0) is its corner."""
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
