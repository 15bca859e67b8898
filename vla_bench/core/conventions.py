"""Image and gripper conventions of other projects, and their conversion to ours."""

from typing import Literal

import numpy as np

from vla_bench.core.types import FloatArray, ImageArray

GripperConvention = Literal[
    "close_positive",  # -1 open, +1 close: ours, robosuite's, LIBERO's
    "open_positive",  # -1 close, +1 open: CALVIN's, WidowX's
    "close_one",  # 0 open, 1 close
    "open_one",  # 0 close, 1 open: OpenVLA's training data
]
Orientation = Literal[
    "upright",
    "upside_down",  # rows from the bottom up, as OpenGL renders: robosuite's and LIBERO's raw images
    "mirrored",  # left and right swapped: LIBERO's raw images rotated by 180 degrees, as OpenVLA, OFT and pi0 see them
    "rotated_180",
]

_FLIPS: dict[Orientation, tuple[slice, slice]] = {
    "upright": (slice(None), slice(None)),
    "upside_down": (slice(None, None, -1), slice(None)),
    "mirrored": (slice(None), slice(None, None, -1)),
    "rotated_180": (slice(None, None, -1), slice(None, None, -1)),
}


def turned(images: ImageArray, orientation: Orientation) -> ImageArray:
    """Return images (..., H, W, 3) from right side up to `orientation`, or back: each is its own opposite."""
    rows, columns = _FLIPS[orientation]
    return np.ascontiguousarray(images[..., rows, columns, :])


def gripper_to_close_positive(gripper: FloatArray, convention: GripperConvention) -> FloatArray:
    """Return gripper commands of any shape as -1 open to +1 close; between the two ends it is linear."""
    if convention == "open_positive":
        return -gripper
    if convention == "close_one":
        return 2.0 * gripper - 1.0
    if convention == "open_one":
        return 1.0 - 2.0 * gripper
    return gripper
