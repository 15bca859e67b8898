"""From other tools' rotations to ours, and whether gripper commands are what is said of them.

Ours are those of `vla_bench.core.types`: images right side up, axis-angle with the quaternion's sign kept, gripper -1
open and +1 close.
"""

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.conventions import GripperConvention
from vla_bench.core.types import FloatArray

_TOLERANCE = 1e-3


def quats_xyzw_to_axis_angle(quats_xyzw: FloatArray) -> NDArray[np.float32]:
    """Return rotation vectors (T, 3) [rad] of unit quaternions (T, 4), in the order of robosuite's observations.

    The sign of each quaternion is kept, as robosuite's `quat2axisangle` does: angles lie in 0..2 pi.
    """
    quats = np.asarray(quats_xyzw, dtype=np.float64)
    w = np.clip(quats[:, 3:], -1.0, 1.0)
    sine = np.sqrt(1.0 - w * w)
    scale = np.where(sine < 1e-9, 0.0, 2.0 * np.arccos(w) / np.maximum(sine, 1e-9))
    axis_angle: NDArray[np.float32] = (quats[:, :3] * scale).astype(np.float32)
    return axis_angle


def axis_angles_to_quats_xyzw(axis_angles: FloatArray) -> FloatArray:
    """Return unit quaternions (T, 4) of rotation vectors (T, 3) [rad]; angles beyond pi give a negative w."""
    vectors = np.asarray(axis_angles, dtype=np.float64)
    angles = np.linalg.norm(vectors, axis=1, keepdims=True)
    axes = vectors / np.maximum(angles, 1e-12)
    quats: FloatArray = np.concatenate([axes * np.sin(angles / 2), np.cos(angles / 2)], axis=1)
    return quats


def panda_hand_to_grip_site(hand_quats_xyzw: FloatArray) -> FloatArray:
    """Return the orientation of the point between a Panda's fingertips, (T, 4), from that of its hand, (T, 4).

    robosuite observes the hand's body (`robot0_eef_quat`, and with it LIBERO's `ee_ori`), our environments the grip
    site, which is turned by -90 degrees about the axis of the hand.
    """
    x, y, z, w = np.asarray(hand_quats_xyzw, dtype=np.float64).T
    turned: FloatArray = np.stack([x - y, y + x, z - w, w + z], axis=1) / np.sqrt(2.0)
    return turned


def panda_hand_to_grip_site_axis_angle(axis_angles: FloatArray) -> NDArray[np.float32]:
    """Return the grip site's rotation vectors (T, 3) [rad], as our environments give them, from the hand's."""
    quats_xyzw = panda_hand_to_grip_site(axis_angles_to_quats_xyzw(axis_angles))
    return quats_xyzw_to_axis_angle(signed_as_from_matrix(quats_xyzw))


def signed_as_from_matrix(quats_xyzw: FloatArray) -> FloatArray:
    """Return unit quaternions (T, 4) with the signs that MuJoCo gives those of a site, which come from its matrix.

    The scalar part is positive where it is above one half, otherwise the largest of the others is (`mju_mat2Quat`).
    """
    quats = np.asarray(quats_xyzw, dtype=np.float64)
    largest = np.abs(quats[:, :3]).argmax(axis=1)
    leading = np.where(np.abs(quats[:, 3]) > 0.5, quats[:, 3], quats[np.arange(len(quats)), largest])
    signed: FloatArray = quats * np.where(leading < 0, -1.0, 1.0)[:, None]
    return signed


def gripper_problem(gripper: FloatArray, convention: GripperConvention) -> str | None:
    """Return what speaks against `convention` in all gripper commands of a source; None where nothing does."""
    if not gripper.size:
        return None
    low, high = float(gripper.min()), float(gripper.max())
    first, last = (0.0, 1.0) if convention.endswith("_one") else (-1.0, 1.0)
    zero_one = first == -1.0 and low == 0.0 and high == 1.0
    if low >= first - _TOLERANCE and high <= last + _TOLERANCE and not zero_one:
        return None
    return f"gripper commands lie in {low:g} to {high:g}, but {convention!r} is {first:g} to {last:g}"
