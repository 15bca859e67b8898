"""Pixel-level augmentations, drawn for each image: brightness, color jitter, noise, shift and random resized crop.

The action stays as it is.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.types import ImageArray
from vla_bench.training.augmentation.samples import Samples
from vla_bench.training.config import AugmentationConfig

# ~ Changes of colour: each image of each sample is changed on its own, and the right action stays as it is.

_LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # luma of ITU-R BT.601
_HUE_RANGE = 180  # of OpenCV's hue in 8 bits


@dataclass(frozen=True)
class Brightness:
    """Multiply by 1 - largest to 1 + largest."""

    largest: float

    @classmethod
    def of(cls, config: AugmentationConfig) -> "Brightness | None":
        """Return what `config` asks for."""
        return cls(config.brightness) if config.brightness else None

    def drawn(self, rows: int, images: int, generator: np.random.Generator) -> NDArray[Any]:
        """Return factors, (rows, images)."""
        factors: NDArray[Any] = 1.0 + generator.uniform(-self.largest, self.largest, size=(rows, images))
        return factors

    def applied(self, samples: Samples, parameters: NDArray[Any]) -> Samples:
        """Return brighter or darker copies."""
        tables = np.clip(np.arange(256) * parameters[..., None], 0, 255).astype(np.uint8)  # (rows, images, 256)
        return _map_images(samples, tables, lambda image, table: table[image])


@dataclass(frozen=True)
class ColorJitter:
    """Contrast about the image's mean, saturation towards its grey, and a turn of the hue."""

    contrast: float
    saturation: float
    hue: float

    @classmethod
    def of(cls, config: AugmentationConfig) -> "ColorJitter | None":
        """Return what `config` asks for."""
        largest = (config.contrast, config.saturation, config.hue)
        return cls(*largest) if any(largest) else None

    def drawn(self, rows: int, images: int, generator: np.random.Generator) -> NDArray[Any]:
        """Return factors of contrast and saturation, and turns in circles, (rows, images, 3)."""
        largest = np.array([self.contrast, self.saturation, self.hue])
        shares = generator.uniform(-1.0, 1.0, size=(rows, images, 3))
        changes: NDArray[Any] = shares * largest + np.array([1.0, 1.0, 0.0])
        return changes

    def applied(self, samples: Samples, parameters: NDArray[Any]) -> Samples:
        """Return copies in other colours."""
        return _map_images(samples, parameters, _jitter_image)


@dataclass(frozen=True)
class Noise:
    """Add independent Gaussian noise to every number of every pixel."""

    deviation: float  # grey levels

    @classmethod
    def of(cls, config: AugmentationConfig) -> "Noise | None":
        """Return what `config` asks for."""
        return cls(config.noise) if config.noise else None

    def drawn(self, rows: int, images: int, generator: np.random.Generator) -> NDArray[Any]:
        """Return the seed of each image's noise, (rows, images)."""
        return generator.integers(0, 2**63, size=(rows, images))

    def applied(self, samples: Samples, parameters: NDArray[Any]) -> Samples:
        """Return noisy copies."""
        return _map_images(samples, parameters, self._noisy)

    def _noisy(self, image: ImageArray, seed: Any) -> ImageArray:
        noise = np.random.default_rng(int(seed)).standard_normal(image.shape, dtype=np.float32)
        noisy: ImageArray = np.clip(np.rint(image + self.deviation * noise), 0, 255).astype(np.uint8)
        return noisy


def _jitter_image(image: ImageArray, parameters: NDArray[Any]) -> ImageArray:
    contrast, saturation, turn = parameters
    pixels = image.astype(np.float32)
    pixels = (pixels - (pixels @ _LUMA_WEIGHTS).mean()) * contrast + (pixels @ _LUMA_WEIGHTS).mean()
    grey = (pixels @ _LUMA_WEIGHTS)[..., None]
    changed: ImageArray = np.clip(np.rint((pixels - grey) * saturation + grey), 0, 255).astype(np.uint8)
    steps = round(turn * _HUE_RANGE)
    if not steps:
        return changed
    hsv = cv2.cvtColor(changed, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(np.int64) + steps) % _HUE_RANGE
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), dtype=np.uint8)


def _map_images(samples: Samples, parameters: NDArray[Any], change: Any) -> Samples:
    """Apply `change` to every image with its own parameters (rows, images, ...)."""
    images = np.empty_like(samples.images)
    for row, number in np.ndindex(images.shape[:2]):
        images[row, number] = change(samples.images[row, number], parameters[row, number])
    return replace(samples, images=images)


# ~ Shifts and crops: each image of each sample is changed on its own, by so little that the action is left as it
# ~ is.


@dataclass(frozen=True)
class Shift:
    """Move by whole pixels; the border is repeated."""

    largest: int  # pixels, each way

    @classmethod
    def of(cls, config: AugmentationConfig) -> "Shift | None":
        """Return what `config` asks for."""
        return cls(config.shift_pixels) if config.shift_pixels else None

    def drawn(self, rows: int, images: int, generator: np.random.Generator) -> NDArray[Any]:
        """Return how far the window moves down and right, (rows, images, 2) [pixels]."""
        return generator.integers(-self.largest, self.largest + 1, size=(rows, images, 2))

    def applied(self, samples: Samples, parameters: NDArray[Any]) -> Samples:
        """Return shifted copies."""
        images = np.empty_like(samples.images)
        height, width = images.shape[2:4]
        for row, number in np.ndindex(images.shape[:2]):
            down, right = parameters[row, number]
            rows = np.clip(np.arange(height) + down, 0, height - 1)
            columns = np.clip(np.arange(width) + right, 0, width - 1)
            images[row, number] = samples.images[row, number][rows][:, columns]
        return replace(samples, images=images)


@dataclass(frozen=True)
class RandomResizedCrop:
    """Cut out a part and stretch it to the whole (Szegedy et al. 2015; OpenVLA's is 0.9 of the area)."""

    least_area: float
    largest_aspect: float  # width by height, or height by width

    @classmethod
    def of(cls, config: AugmentationConfig) -> "RandomResizedCrop | None":
        """Return what `config` asks for."""
        wanted = config.crop_area < 1.0 or config.crop_aspect > 1.0
        return cls(config.crop_area, config.crop_aspect) if wanted else None

    def drawn(self, rows: int, images: int, generator: np.random.Generator) -> NDArray[Any]:
        """Return area, aspect and place of the middle, each 0 to 1 of its range, (rows, images, 4)."""
        return generator.uniform(size=(rows, images, 4))

    def applied(self, samples: Samples, parameters: NDArray[Any]) -> Samples:
        """Return cropped copies of the same size."""
        images = np.empty_like(samples.images)
        for row, number in np.ndindex(images.shape[:2]):
            image = samples.images[row, number]
            top, left, height, width = self._window(parameters[row, number], *image.shape[:2])
            matrix = np.array([[width / image.shape[1], 0, left], [0, height / image.shape[0], top]])
            matrix[:, 2] += 0.5 * np.diag(matrix) - 0.5  # pixels are squares, their middles at halves
            images[row, number] = cv2.warpAffine(
                image,
                matrix,
                (image.shape[1], image.shape[0]),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
        return replace(samples, images=images)

    def _window(self, parameters: NDArray[Any], rows: int, columns: int) -> tuple[float, float, float, float]:
        """Return top, left, height and width [pixels], wholly within the image."""
        area = self.least_area + (1.0 - self.least_area) * parameters[0]
        aspect = self.largest_aspect ** (2.0 * parameters[1] - 1.0)
        height = min(1.0, math.sqrt(area / aspect)) * rows
        width = min(1.0, math.sqrt(area * aspect)) * columns
        return parameters[2] * (rows - height), parameters[3] * (columns - width), height, width
