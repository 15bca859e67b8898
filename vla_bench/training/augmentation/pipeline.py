"""The sequence of augmentations of a run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.types import FloatArray
from vla_bench.training.augmentation.geometric import HorizontalFlip, InPlaneRotation
from vla_bench.training.augmentation.pixels import Brightness, ColorJitter, Noise, RandomResizedCrop, Shift
from vla_bench.training.augmentation.samples import Draw, Samples
from vla_bench.training.augmentation.scene import SceneGeometry
from vla_bench.training.config import AugmentationConfig


class Augmentation(Protocol):
    """A random augmentation, applied consistently to images, actions, proprioception and instruction."""

    def sample_parameters(self, samples: int, images: int, generator: np.random.Generator) -> NDArray[Any]:
        """Return random parameters for `samples` samples with `images` images each, (samples, ...)."""

    def apply(self, samples: Samples, parameters: NDArray[Any]) -> Samples:
        """Return augmented copies of `samples`, each with its own row of `parameters`."""


class GeometricAugmentation(Augmentation, Protocol):
    """An augmentation that moves the scene, and so also changes actions, proprioception and instruction."""

    def extreme_parameters(self, images: int) -> Iterable[NDArray[Any]]:
        """Yield the parameters (1, ...) of the largest changes, for the normalization statistics."""

    def texts(self, instruction: str) -> Iterable[str]:
        """Yield every text that `instruction` can become."""

    def check(self, proprioception: NDArray[np.float32]) -> None:
        """Raise `AugmentationRefusedError` if recorded proprioception (frames, P) cannot be transformed."""


@dataclass(frozen=True)
class Pipeline:
    """Geometric augmentations, followed by pixel-level augmentations."""

    geometric: tuple[GeometricAugmentation, ...] = ()
    pixels: tuple[Augmentation, ...] = ()

    @classmethod
    def of(cls, config: AugmentationConfig, scene: SceneGeometry | None = None) -> "Pipeline":
        """Return the augmentations of `config`. Raises `AugmentationRefusedError` if one is not exact for the scene."""
        geometric = [kind.of(config, scene) for kind in (HorizontalFlip, InPlaneRotation)]
        pixels = [kind.of(config) for kind in (RandomResizedCrop, Shift, Brightness, ColorJitter, Noise)]
        return cls(tuple(one for one in geometric if one is not None), tuple(one for one in pixels if one is not None))

    def __call__(self, samples: Samples, draw: Draw) -> Samples:
        """Return augmented copies of `samples`, which are the samples of the batch from `draw.start` on."""
        wanted = slice(draw.start, draw.start + len(samples))
        for augmentation in (*self.geometric, *self.pixels):
            parameters = augmentation.sample_parameters(draw.samples, samples.images.shape[1], draw.generator)
            samples = augmentation.apply(samples, parameters[wanted])
        return samples

    def texts(self, instructions: Sequence[str]) -> tuple[str, ...]:
        """Return `instructions`, followed by all other texts that they can become."""
        known = dict.fromkeys(instructions)
        for augmentation in self.geometric:
            known |= dict.fromkeys(text for one in tuple(known) for text in augmentation.texts(one))
        return tuple(known)

    def check(self, proprioception: NDArray[np.float32]) -> None:
        """Raise `AugmentationRefusedError` if recorded proprioception (frames, P) cannot be transformed."""
        for augmentation in self.geometric:
            augmentation.check(proprioception)

    def with_extremes(
        self, actions: NDArray[np.float32], proprioception: NDArray[np.float32]
    ) -> tuple[FloatArray, FloatArray]:
        """Return actions (n, 7) and proprioception (n, P), extended by their largest geometric changes.

        Normalization statistics of these values do not clip a mirrored or rotated action.
        """
        samples = Samples(np.empty((len(actions), 0, 1, 1, 3), np.uint8), actions[:, None], proprioception, ())
        variants = [samples]
        for augmentation in self.geometric:
            variants += [
                augmentation.apply(replace(one, instructions=("",) * len(one)), np.repeat(extreme, len(one), axis=0))
                for one in tuple(variants)
                for extreme in augmentation.extreme_parameters(0)
            ]
        return np.concatenate([one.actions[:, 0] for one in variants]), np.concatenate(
            [one.proprioception for one in variants]
        )
