"""Shifts and crops: each image of each sample is changed on its own, by so little that the action is left as it is."""

import math
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vla_bench.training.augmentation.config import AugmentationConfig
from vla_bench.training.augmentation.samples import Samples


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
