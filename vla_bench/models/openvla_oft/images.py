"""Camera images as OpenVLA's and OpenVLA-OFT's LIBERO evaluations prepare them before the crop: JPEG, Lanczos to size.

The originals do this with TensorFlow. The arithmetic here is theirs (`tf.image.resize` with "lanczos3" and
anti-aliasing), without that dependency.
"""

from functools import lru_cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vla_bench.core.types import ImageArray

_JPEG_QUALITY = 95  # TensorFlow's default
_LANCZOS_LOBES = 3


def evaluation_image(image: ImageArray, size: int, *, jpeg: bool = True) -> ImageArray:
    """Return uint8 (size, size, 3) of a camera image (H, W, 3), before the crop.

    An image that already has the size is neither compressed nor resized, as in the original.
    """
    if image.shape[:2] == (size, size):
        return image
    return lanczos_resized(jpeg_round_trip(image) if jpeg else image, size)


def jpeg_round_trip(image: ImageArray) -> ImageArray:
    """Return the image after compression with TensorFlow's default settings."""
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
    centres = (np.arange(target) + 0.5) * source / target
    distance = (np.arange(source) + 0.5 - centres[:, None]) / scale
    weights = np.where(np.abs(distance) < _LANCZOS_LOBES, np.sinc(distance) * np.sinc(distance / _LANCZOS_LOBES), 0.0)
    normalised: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalised.astype(np.float32)
