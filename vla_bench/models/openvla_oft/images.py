"""Camera images as OpenVLA's and OpenVLA-OFT's LIBERO evaluations prepare them: JPEG, Lanczos to size, centre crop.

The originals do this with TensorFlow. The arithmetic here is theirs (`tf.image.resize` with "lanczos3" and
anti-aliasing, `tf.image.crop_and_resize`), without that dependency.
"""

from functools import lru_cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vla_bench.core.types import ImageArray

_JPEG_QUALITY = 95  # TensorFlow's default
_LANCZOS_LOBES = 3


def evaluation_image(image: ImageArray, size: int, *, crop_area: float = 0.9, jpeg: bool = True) -> ImageArray:
    """Return uint8 (size, size, 3) of a right-side-up camera image (H, W, 3) of any size.

    An image that already has the size is neither compressed nor resized, as in the original. `crop_area` is the share
    of the area that is kept at the centre; 1 keeps all.
    """
    if image.shape[:2] != (size, size):
        image = lanczos_resized(jpeg_round_trip(image) if jpeg else image, size)
    return image if crop_area == 1.0 else centre_cropped(image, crop_area)


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


def centre_cropped(image: ImageArray, area: float) -> ImageArray:
    """Return the centre of `area` (0..1] of a square image, bilinearly enlarged to the image's own size."""
    size = image.shape[0]
    side = np.sqrt(np.float32(area))
    start = (np.float32(1) - side) / np.float32(2) * np.float32(size - 1)
    places = start + np.arange(size, dtype=np.float32) * side
    low = np.floor(places).astype(np.intp)
    high = np.minimum(low + 1, size - 1)
    share = (places - low).astype(np.float32)
    scaled = image.astype(np.float32) / np.float32(255)
    mixed = _mixed(scaled[low], scaled[high], share[:, None, None])
    mixed = _mixed(mixed[:, low], mixed[:, high], share[None, :, None])
    return np.clip(mixed * np.float32(255.5), 0, 255).astype(np.uint8)  # TensorFlow's conversion: scale, then truncate


def _mixed(first: NDArray[np.float32], second: NDArray[np.float32], share: NDArray[np.float32]) -> NDArray[np.float32]:
    return first + (second - first) * share


@lru_cache(maxsize=8)
def _lanczos_weights(source: int, target: int) -> NDArray[np.float32]:
    """Return (target, source): the weight of each source pixel in each target pixel; rows sum to 1."""
    scale = max(source / target, 1.0)
    centres = (np.arange(target) + 0.5) * source / target
    distance = (np.arange(source) + 0.5 - centres[:, None]) / scale
    weights = np.where(np.abs(distance) < _LANCZOS_LOBES, np.sinc(distance) * np.sinc(distance / _LANCZOS_LOBES), 0.0)
    normalised: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalised.astype(np.float32)
