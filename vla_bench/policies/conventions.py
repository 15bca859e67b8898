"""Conversion between a policy's conventions and the environments', all in one place.

The environments' own conventions are those of `vla_bench.core.types`: images right side up, axis-angle with the
quaternion's sign kept, gripper -1 open and +1 close.
"""

from typing import Literal

import numpy as np

from vla_bench.core.conventions import GripperConvention, Orientation, gripper_to_close_positive, turned
from vla_bench.core.types import FloatArray, ImageArray

AxisAngleConvention = Literal[
    "robosuite",  # angle in 0..2 pi: the quaternion's sign is kept
    "shortest",  # angle in 0..pi
]


def actions_to_close_positive(actions: FloatArray, convention: GripperConvention) -> FloatArray:
    """Return actions (..., 7) whose last number is -1 for open and +1 for close.

    Commands of 0 to 1 are decided for one or the other, as OpenVLA's LIBERO evaluation does.
    """
    gripper = gripper_to_close_positive(actions[..., -1:], convention)
    if convention.endswith("_one"):
        gripper = np.sign(gripper)
    converted: FloatArray = np.concatenate([actions[..., :-1], gripper], axis=-1)
    return converted.astype(np.float32)


def axis_angle_from_robosuite(axis_angle: FloatArray, convention: AxisAngleConvention) -> FloatArray:
    """Return rotation vectors (..., 3) [rad] in the policy's convention."""
    if convention == "robosuite":
        return axis_angle
    angle = np.linalg.norm(axis_angle, axis=-1, keepdims=True)
    flipped = axis_angle * (1.0 - 2.0 * np.pi / np.maximum(angle, np.pi))
    shortest: FloatArray = np.where(angle > np.pi, flipped, axis_angle)
    return shortest.astype(axis_angle.dtype)


def image_for_policy(image: ImageArray, orientation: Orientation, crop_area: float) -> ImageArray:
    """Return the image (H, W, 3) turned as the policy's training images, its centre of `crop_area` (0..1] enlarged.

    The crop has fractional borders and is enlarged to the image's own size between pixels, as OpenVLA's evaluation does
    with `tf.image.crop_and_resize`.
    """
    image = turned(image, orientation)
    return image if crop_area == 1.0 else _centre_enlarged(image, crop_area)


def _centre_enlarged(image: ImageArray, crop_area: float) -> ImageArray:
    """Return the centre, between the middles of the outer pixels, interpolated to the whole size."""
    pixels = image.astype(np.float32) / 255.0
    for axis in (0, 1):
        last, share = image.shape[axis] - 1, crop_area**0.5
        position = np.linspace((1.0 - share) / 2.0 * last, (1.0 + share) / 2.0 * last, last + 1)
        below = np.floor(position).astype(np.intp)
        weight = (position - below).astype(np.float32)[:, None] if axis else (position - below)[:, None, None]
        upper = np.take(pixels, np.minimum(below + 1, last), axis=axis)
        lower = np.take(pixels, below, axis=axis)
        pixels = (lower + (upper - lower) * weight).astype(np.float32)
    return (np.clip(pixels, 0.0, 1.0) * 255.5).astype(np.uint8)  # TensorFlow's rounding to 8 bits
