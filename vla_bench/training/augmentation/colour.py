"""Changes of colour: each image of each sample is changed on its own, and the right action stays as it is."""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.types import ImageArray
from vla_bench.training.augmentation.config import AugmentationConfig
from vla_bench.training.augmentation.samples import Samples

_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # luma of ITU-R BT.601
_HUES = 180  # of OpenCV's hue in 8 bits


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
        return _each(samples, tables, lambda image, table: table[image])


@dataclass(frozen=True)
class ColourJitter:
    """Contrast about the image's mean, saturation towards its grey, and a turn of the hue."""

    contrast: float
    saturation: float
    hue: float

    @classmethod
    def of(cls, config: AugmentationConfig) -> "ColourJitter | None":
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
        return _each(samples, parameters, _jittered)


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
        return _each(samples, parameters, self._noisy)

    def _noisy(self, image: ImageArray, seed: Any) -> ImageArray:
        noise = np.random.default_rng(int(seed)).standard_normal(image.shape, dtype=np.float32)
        noisy: ImageArray = np.clip(np.rint(image + self.deviation * noise), 0, 255).astype(np.uint8)
        return noisy


def _jittered(image: ImageArray, parameters: NDArray[Any]) -> ImageArray:
    contrast, saturation, turn = parameters
    pixels = image.astype(np.float32)
    pixels = (pixels - (pixels @ _GREY).mean()) * contrast + (pixels @ _GREY).mean()
    grey = (pixels @ _GREY)[..., None]
    changed: ImageArray = np.clip(np.rint((pixels - grey) * saturation + grey), 0, 255).astype(np.uint8)
    steps = round(turn * _HUES)
    if not steps:
        return changed
    hsv = cv2.cvtColor(changed, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(np.int64) + steps) % _HUES
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), dtype=np.uint8)


def _each(samples: Samples, parameters: NDArray[Any], change: Any) -> Samples:
    """Apply `change` to every image with its own parameters (rows, images, ...)."""
    images = np.empty_like(samples.images)
    for row, number in np.ndindex(images.shape[:2]):
        images[row, number] = change(samples.images[row, number], parameters[row, number])
    return replace(samples, images=images)
