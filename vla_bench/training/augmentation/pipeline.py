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
    """One random change. Whatever it draws, it does to image, action, proprioception and instruction alike."""

    def drawn(self, rows: int, images: int, generator: np.random.Generator) -> NDArray[Any]:
        """Return the parameters of `rows` samples of `images` images each, (rows, ...)."""

    def applied(self, samples: Samples, parameters: NDArray[Any]) -> Samples:
        """Return changed copies of `samples`, each by its own row of `parameters`."""


class GeometricAugmentation(Augmentation, Protocol):
    """A change that moves the scene: actions, proprioception and instruction follow."""

    def extreme_parameters(self, images: int) -> Iterable[NDArray[Any]]:
        """Yield parameters (1, ...) of the changes that reach furthest, for statistics."""

    def texts(self, instruction: str) -> Iterable[str]:
        """Yield every text that `instruction` may become."""

    def check(self, proprioception: NDArray[np.float32]) -> None:
        """Raise where recorded proprioception (frames, P) cannot follow."""


@dataclass(frozen=True)
class Pipeline:
    """Augmentations that move the scene, then those that change pixels alone."""

    geometric: tuple[GeometricAugmentation, ...] = ()
    pixels: tuple[Augmentation, ...] = ()

    @classmethod
    def of(cls, config: AugmentationConfig, scene: SceneGeometry | None = None) -> "Pipeline":
        """Return what `config` asks for. Raises `AugmentationRefusedError` where the scene has no exact change."""
        geometric = [kind.of(config, scene) for kind in (HorizontalFlip, InPlaneRotation)]
        pixels = [kind.of(config) for kind in (RandomResizedCrop, Shift, Brightness, ColorJitter, Noise)]
        return cls(tuple(one for one in geometric if one is not None), tuple(one for one in pixels if one is not None))

    def __call__(self, samples: Samples, draw: Draw) -> Samples:
        """Return changed copies of `samples`, which are rows `draw.start` and on of the batch."""
        wanted = slice(draw.start, draw.start + len(samples))
        for augmentation in (*self.geometric, *self.pixels):
            parameters = augmentation.drawn(draw.rows, samples.images.shape[1], draw.generator)
            samples = augmentation.applied(samples, parameters[wanted])
        return samples

    def texts(self, instructions: Sequence[str]) -> tuple[str, ...]:
        """Return `instructions` and, after them, all others that they may become."""
        known = dict.fromkeys(instructions)
        for augmentation in self.geometric:
            known |= dict.fromkeys(text for one in tuple(known) for text in augmentation.texts(one))
        return tuple(known)

    def check(self, proprioception: NDArray[np.float32]) -> None:
        """Raise `AugmentationRefusedError` where recorded proprioception (frames, P) cannot follow."""
        for augmentation in self.geometric:
            augmentation.check(proprioception)

    def with_extremes(
        self, actions: NDArray[np.float32], proprioception: NDArray[np.float32]
    ) -> tuple[FloatArray, FloatArray]:
        """Return actions (n, 7) and proprioception (n, P) with what the geometric changes make of them at most.

        Statistics of these, unlike those of the recorded ones, do not clip a mirrored or turned action.
        """
        samples = Samples(np.empty((len(actions), 0, 1, 1, 3), np.uint8), actions[:, None], proprioception, ())
        shown = [samples]
        for augmentation in self.geometric:
            shown += [
                augmentation.applied(replace(one, instructions=("",) * len(one)), np.repeat(extreme, len(one), axis=0))
                for one in tuple(shown)
                for extreme in augmentation.extreme_parameters(0)
            ]
        return np.concatenate([one.actions[:, 0] for one in shown]), np.concatenate(
            [one.proprioception for one in shown]
        )
