"""Light image augmentation: small shifts and changes of brightness."""

import numpy as np

from vla_bench.core.types import ImageArray
from vla_bench.training.augmentation.config import AugmentationConfig


def augmented(images: ImageArray, config: AugmentationConfig, generator: np.random.Generator) -> ImageArray:
    """Return changed copies of `images` (B, N, H, W, 3): each image of each row is changed on its own."""
    flat = images.reshape(-1, *images.shape[2:])
    if config.shift_pixels:
        flat = _shifted(flat, generator.integers(-config.shift_pixels, config.shift_pixels + 1, size=(len(flat), 2)))
    if config.brightness:
        factors = 1.0 + generator.uniform(-config.brightness, config.brightness, size=len(flat))
        flat = _brightened(flat, factors)
    return flat.reshape(images.shape)


def _shifted(images: ImageArray, offsets: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> ImageArray:
    """Shift each image by its (rows, columns); the border is repeated."""
    height, width = images.shape[1:3]
    rows = np.clip(np.arange(height) + offsets[:, :1], 0, height - 1)
    columns = np.clip(np.arange(width) + offsets[:, 1:], 0, width - 1)
    return np.stack([image[row][:, column] for image, row, column in zip(images, rows, columns, strict=True)])


def _brightened(images: ImageArray, factors: np.ndarray[tuple[int], np.dtype[np.float64]]) -> ImageArray:
    tables = np.clip(np.arange(256) * factors[:, None], 0, 255).astype(np.uint8)  # (images, 256)
    return np.stack([table[image] for image, table in zip(images, tables, strict=True)])
