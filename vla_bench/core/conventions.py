"""Image and gripper conventions of other projects, and their conversion to ours."""

from typing import Literal

import numpy as np

from vla_bench.core.types import FloatArray, ImageArray

GripperConvention = Literal[
    "close_positive",  # -1 open, +1 close: vla_bench, robosuite, LIBERO
    "open_positive",  # -1 close, +1 open: CALVIN, WidowX
    "close_one",  # 0 open, 1 close
    "open_one",  # 0 close, 1 open: training data of OpenVLA
]
Orientation = Literal[
    "upright",
    "upside_down",  # rows from the bottom up, as OpenGL renders: raw images of robosuite and LIBERO
    "mirrored",  # left and right swapped: raw LIBERO images rotated by 180 degrees, the input of OpenVLA, OFT and pi0
    "rotated_180",
]

_FLIPS: dict[Orientation, tuple[slice, slice]] = {
    "upright": (slice(None), slice(None)),
    "upside_down": (slice(None, None, -1), slice(None)),
    "mirrored": (slice(None), slice(None, None, -1)),
    "rotated_180": (slice(None, None, -1), slice(None, None, -1)),
}


def turned(images: ImageArray, orientation: Orientation) -> ImageArray:
    """Return images (..., H, W, 3) converted from right side up to `orientation`, or back: each flip is its own
    inverse.
    """
    rows, columns = _FLIPS[orientation]
    return np.ascontiguousarray(images[..., rows, columns, :])


def gripper_to_close_positive(gripper: FloatArray, convention: GripperConvention) -> FloatArray:
    """Return gripper commands of any shape as -1 open to +1 close, linear in between."""
    if convention == "open_positive":
        return -gripper
    if convention == "close_one":
        return 2.0 * gripper - 1.0
    if convention == "open_one":
        return 1.0 - 2.0 * gripper
    return gripper
