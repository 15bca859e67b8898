"""Rotation conversions. MuJoCo's quaternions are wxyz; the order stands in every name.

They are asked several times in every control step, for a few numbers each: plain floats are faster than arrays here,
and the same to the bit. Sines and cosines stay numpy's, which differ from the C library's in the last bit.
"""

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

    The quaternion's sign is kept, so the angle lies in 0..2 pi: robosuite's and LIBERO's convention. A converter
    that flips w < 0 first gives other numbers, which policies trained on their data do not know.
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
