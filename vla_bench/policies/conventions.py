"""Conversion between the conventions of policies and environments: images, rotations, grippers, proprioception.

Environments send images right side up and axis-angle rotations that keep the quaternion's sign, and take gripper
commands of -1 (open) to +1 (close). Image operations reproduce TensorFlow's, with which OpenVLA and OpenVLA-OFT are
evaluated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vla_bench.core.conventions import GripperConvention, Orientation, gripper_to_close_positive, turned
from vla_bench.core.errors import ConventionError
from vla_bench.core.types import FloatArray, ImageArray, Observation, ProprioceptionField
from vla_bench.models.network_record import NetworkRecord, read_record

AxisAngleConvention = Literal[
    "robosuite",  # angle in 0..2 pi: the sign of the quaternion is kept
    "shortest",  # angle in 0..pi
]


def actions_to_close_positive(actions: FloatArray, convention: GripperConvention) -> FloatArray:
    """Return actions (..., 7) with a last number of -1 for open and +1 for close.

    Commands between 0 and 1 are thresholded, as in the LIBERO evaluation of OpenVLA.
    """
    gripper = gripper_to_close_positive(actions[..., -1:], convention)
    if convention.endswith("_one"):
        gripper = np.sign(gripper)
    converted: FloatArray = np.concatenate([actions[..., :-1], gripper], axis=-1)
    return converted.astype(np.float32)


def axis_angle_from_robosuite(axis_angle: FloatArray, convention: AxisAngleConvention) -> FloatArray:
    """Return rotation vectors (..., 3) [rad] in the convention of the policy."""
    if convention == "robosuite":
        return axis_angle
    angle = np.linalg.norm(axis_angle, axis=-1, keepdims=True)
    flipped = axis_angle * (1.0 - 2.0 * np.pi / np.maximum(angle, np.pi))
    shortest: FloatArray = np.where(angle > np.pi, flipped, axis_angle)
    return shortest.astype(axis_angle.dtype)


def image_for_policy(image: ImageArray, orientation: Orientation, crop_area: float) -> ImageArray:
    """Return the image (H, W, 3) in the orientation of the training images, with its center of `crop_area` (0..1]
    enlarged.

    The crop has fractional borders and is interpolated to the original size, like `tf.image.crop_and_resize` in the
    evaluation of OpenVLA.
    """
    image = turned(image, orientation)
    return image if crop_area == 1.0 else _center_crop_and_resize(image, crop_area)


def _center_crop_and_resize(image: ImageArray, crop_area: float) -> ImageArray:
    """Return the center crop, between the centers of the outer pixels, interpolated to the original size."""
    pixels = image.astype(np.float32) / 255.0
    for axis in (0, 1):
        last, share = image.shape[axis] - 1, crop_area**0.5
        position = np.linspace((1.0 - share) / 2.0 * last, (1.0 + share) / 2.0 * last, last + 1)
        below = np.floor(position).astype(np.intp)
        weight = (position - below).astype(np.float32)[:, None] if axis else (position - below)[:, None, None]
        upper = np.take(pixels, np.minimum(below + 1, last), axis=axis)
        lower = np.take(pixels, below, axis=axis)
        pixels = (lower + (upper - lower) * weight).astype(np.float32)
    return (np.clip(pixels, 0.0, 1.0) * 255.5).astype(np.uint8)  # rounding to 8 bits as in TensorFlow


_ROTATION_FIELDS = ("end_effector_axis_angle", "hand_axis_angle")


@dataclass(frozen=True, eq=False)
class ProprioceptionReader:
    """Reader of selected proprioception fields, in the order and convention of training."""

    indices: NDArray[np.intp]
    rotations: tuple[slice, ...]  # slices of axis-angle fields
    convention: AxisAngleConvention

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        fields: Sequence[ProprioceptionField],
        convention: AxisAngleConvention,
        expected: int,
    ) -> "ProprioceptionReader":
        """Return the reader of the fields `names`; raise `ConventionError` unless they have `expected` numbers."""
        ends = np.cumsum([field.size for field in fields])
        places = {field.name: np.arange(end - field.size, end) for field, end in zip(fields, ends, strict=True)}
        indices = np.concatenate([np.zeros(0, dtype=np.intp), *(places[name] for name in names)])
        if len(indices) != expected:
            sizes = ", ".join(f"{name} ({len(places[name])})" for name in names) or "none"
            raise ConventionError(
                f"The network takes {expected} numbers of proprioception, but the card lists {sizes}."
            )
        starts = np.cumsum([0, *(len(places[name]) for name in names)])
        rotations = tuple(
            slice(start, start + 3) for name, start in zip(names, starts, strict=False) if name in _ROTATION_FIELDS
        )
        return cls(indices, rotations, convention)

    def read(self, observations: Sequence[Observation]) -> NDArray[np.float32]:
        """Return proprioception (B, P) in the units of the environments."""
        values = np.stack([observation["proprioception"][self.indices] for observation in observations])
        for rotation in self.rotations:
            values[:, rotation] = axis_angle_from_robosuite(values[:, rotation], self.convention)
        result: NDArray[np.float32] = values.astype(np.float32)
        return result


_JPEG_QUALITY = 95  # default of TensorFlow
_LANCZOS_LOBES = 3


def evaluation_image(image: ImageArray, size: int, *, jpeg: bool = True) -> ImageArray:
    """Return uint8 (size, size, 3) of a camera image (H, W, 3), before the crop.

    An image of the right size is neither compressed nor resized, as in the original code. The arithmetic is that of
    `tf.image.resize` with "lanczos3" and anti-aliasing, without the dependency.
    """
    if image.shape[:2] == (size, size):
        return image
    return lanczos_resized(jpeg_round_trip(image) if jpeg else image, size)


def jpeg_round_trip(image: ImageArray) -> ImageArray:
    """Return the image after compression with the default settings of TensorFlow."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=_JPEG_QUALITY, subsampling="4:2:0")
    return np.asarray(Image.open(buffer), dtype=np.uint8)


def lanczos_resized(image: ImageArray, size: int) -> ImageArray:
    """Return uint8 (size, size, 3): a separable anti-aliased three-lobed Lanczos filter, rounded once at the end."""
    rows, columns = (_lanczos_weights(side, size) for side in image.shape[:2])
    resized = np.einsum("yh,hwc,xw->yxc", rows, image.astype(np.float32), columns, optimize=True)
    rounded: ImageArray = np.clip(np.rint(resized), 0, 255).astype(np.uint8)
    return rounded


@lru_cache(maxsize=8)
def _lanczos_weights(source: int, target: int) -> NDArray[np.float32]:
    """Return (target, source): the weight of each source pixel in each target pixel; rows sum to 1."""
    scale = max(source / target, 1.0)
    centers = (np.arange(target) + 0.5) * source / target
    distance = (np.arange(source) + 0.5 - centers[:, None]) / scale
    weights = np.where(np.abs(distance) < _LANCZOS_LOBES, np.sinc(distance) * np.sinc(distance / _LANCZOS_LOBES), 0.0)
    normalized: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalized.astype(np.float32)


TRAINING_CONVENTIONS: dict[str, object] = {  # inputs of training for all demonstration formats
    "image_orientation": "upright",
    "image_crop_area": 1.0,
    "axis_angle": "robosuite",
    "gripper": "close_positive",
    "unnorm_key": None,  # exactly one entry
}


def training_conventions(checkpoint: Path) -> tuple[NetworkRecord, dict[str, object]] | None:
    """Return the training record in `checkpoint` and the card fields that follow from it; None for a published network.

    A published card states the conventions of published weights, which would be silently wrong for weights trained
    here.
    """
    record = read_record(checkpoint)
    if record is None or record.conventions is None:
        return None
    shown = record.conventions
    own = {"cameras": shown.cameras, "image_size": shown.image_size, "proprioception": shown.proprioception}
    return record, {**own, "robot": shown.robot, **TRAINING_CONVENTIONS}
