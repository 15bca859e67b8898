"""Pixel-level augmentations, sampled per image: brightness, color jitter, noise, shift and random resized crop.

They do not change the action: shifts and crops are small enough to keep it valid.
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

_LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # luma of ITU-R BT.601
_HUE_RANGE = 180  # of 8-bit hue in OpenCV


@dataclass(frozen=True)
class Brightness:
    """Multiplication by a factor between 1 - largest and 1 + largest."""

    largest: float

    @classmethod
    def of(cls, config: AugmentationConfig) -> "Brightness | None":
        """Return the augmentation of `config`; None if it is disabled."""
        return cls(config.brightness) if config.brightness else None

    def sample_parameters(self, samples: int, images: int, generator: np.random.Generator) -> NDArray[Any]:
        """Return random brightness factors, (samples, images)."""
        factors: NDArray[Any] = 1.0 + generator.uniform(-self.largest, self.largest, size=(samples, images))
        return factors

    def apply(self, samples: Samples, parameters: NDArray[Any]) -> Samples:
        """Return brighter or darker copies."""
        tables = np.clip(np.arange(256) * parameters[..., None], 0, 255).astype(np.uint8)  # (samples, images, 256)
        return _map_images(samples, tables, lambda image, table: table[image])


@dataclass(frozen=True)
class ColorJitter:
    """Random contrast, saturation and hue."""

    contrast: float
    saturation: float
    hue: float

    @classmethod
    def of(cls, config: AugmentationConfig) -> "ColorJitter | None":
        """Return the augmentation of `config`; None if it is disabled."""
        largest = (config.contrast, config.saturation, config.hue)
        return cls(*largest) if any(largest) else None

    def sample_parameters(self, samples: int, images: int, generator: np.random.Generator) -> NDArray[Any]:
        """Return random contrast and saturation factors and hue rotation in full circles, (samples, images, 3)."""
        largest = np.array([self.contrast, self.saturation, self.hue])
        fractions = generator.uniform(-1.0, 1.0, size=(samples, images, 3))
        changes: NDArray[Any] = fractions * largest + np.array([1.0, 1.0, 0.0])
        return changes

    def apply(self, samples: Samples, parameters: NDArray[Any]) -> Samples:
        """Return copies with changed colors."""
        return _map_images(samples, parameters, _jitter_image)


@dataclass(frozen=True)
class Noise:
    """Independent Gaussian noise on every channel of every pixel."""

    deviation: float  # gray levels of 255

    @classmethod
    def of(cls, config: AugmentationConfig) -> "Noise | None":
        """Return the augmentation of `config`; None if it is disabled."""
        return cls(config.noise) if config.noise else None

    def sample_parameters(self, samples: int, images: int, generator: np.random.Generator) -> NDArray[Any]:
        """Return the random seed of each image's noise, (samples, images)."""
        return generator.integers(0, 2**63, size=(samples, images))

    def apply(self, samples: Samples, parameters: NDArray[Any]) -> Samples:
        """Return noisy copies."""
        return _map_images(samples, parameters, self._noisy)

    def _noisy(self, image: ImageArray, seed: Any) -> ImageArray:
        noise = np.random.default_rng(int(seed)).standard_normal(image.shape, dtype=np.float32)
        noisy: ImageArray = np.clip(np.rint(image + self.deviation * noise), 0, 255).astype(np.uint8)
        return noisy


def _jitter_image(image: ImageArray, parameters: NDArray[Any]) -> ImageArray:
    contrast, saturation, rotation = parameters
    pixels = image.astype(np.float32)
    pixels = (pixels - (pixels @ _LUMA_WEIGHTS).mean()) * contrast + (pixels @ _LUMA_WEIGHTS).mean()
    gray = (pixels @ _LUMA_WEIGHTS)[..., None]
    changed: ImageArray = np.clip(np.rint((pixels - gray) * saturation + gray), 0, 255).astype(np.uint8)
    steps = round(rotation * _HUE_RANGE)
    if not steps:
        return changed
    hsv = cv2.cvtColor(changed, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(np.int64) + steps) % _HUE_RANGE
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), dtype=np.uint8)


def _map_images(samples: Samples, parameters: NDArray[Any], change: Any) -> Samples:
    """Apply `change` to every image with its own parameters (samples, images, ...)."""
    images = np.empty_like(samples.images)
    for row, number in np.ndindex(images.shape[:2]):
        images[row, number] = change(samples.images[row, number], parameters[row, number])
    return replace(samples, images=images)


@dataclass(frozen=True)
class Shift:
    """Random shift by whole pixels; the border is replicated."""

    largest: int  # pixels, in each direction

    @classmethod
    def of(cls, config: AugmentationConfig) -> "Shift | None":
        """Return the augmentation of `config`; None if it is disabled."""
        return cls(config.shift_pixels) if config.shift_pixels else None

    def sample_parameters(self, samples: int, images: int, generator: np.random.Generator) -> NDArray[Any]:
        """Return random shifts of the image window down and right, (samples, images, 2) [pixels]."""
        return generator.integers(-self.largest, self.largest + 1, size=(samples, images, 2))

    def apply(self, samples: Samples, parameters: NDArray[Any]) -> Samples:
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
    """Random crop, resized to the full image (Szegedy et al. 2015; OpenVLA crops to 0.9 of the area)."""

    least_area: float
    largest_aspect: float  # width / height, or its inverse

    @classmethod
    def of(cls, config: AugmentationConfig) -> "RandomResizedCrop | None":
        """Return the augmentation of `config`; None if it is disabled."""
        enabled = config.crop_area < 1.0 or config.crop_aspect > 1.0
        return cls(config.crop_area, config.crop_aspect) if enabled else None

    def sample_parameters(self, samples: int, images: int, generator: np.random.Generator) -> NDArray[Any]:
        """Return random area, aspect ratio and position, each from 0 to 1 of its range, (samples, images, 4)."""
        return generator.uniform(size=(samples, images, 4))

    def apply(self, samples: Samples, parameters: NDArray[Any]) -> Samples:
        """Return cropped copies of the same size."""
        images = np.empty_like(samples.images)
        for row, number in np.ndindex(images.shape[:2]):
            image = samples.images[row, number]
            top, left, height, width = self._window(parameters[row, number], *image.shape[:2])
            matrix = np.array([[width / image.shape[1], 0, left], [0, height / image.shape[0], top]])
            matrix[:, 2] += 0.5 * np.diag(matrix) - 0.5  # pixel centers are at half-integer coordinates
            images[row, number] = cv2.warpAffine(
                image,
                matrix,
                (image.shape[1], image.shape[0]),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
        return replace(samples, images=images)

    def _window(self, parameters: NDArray[Any], rows: int, columns: int) -> tuple[float, float, float, float]:
        """Return top, left, height and width [pixels] of a window within the image."""
        area = self.least_area + (1.0 - self.least_area) * parameters[0]
        aspect = self.largest_aspect ** (2.0 * parameters[1] - 1.0)
        height = min(1.0, math.sqrt(area / aspect)) * rows
        width = min(1.0, math.sqrt(area * aspect)) * columns
        return parameters[2] * (rows - height), parameters[3] * (columns - width), height, width
