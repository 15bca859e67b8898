"""Pictures are blurred, compressed and partly covered."""

import io

import numpy as np
from PIL import Image, ImageFilter

from vla_bench.core.types import ImageArray
from vla_bench.envs.perturbations.effect import Effect, axes


@axes.named("sensor")
class SensorEffect(Effect):
    """Blur of 0.2, 0.4 or 0.7 % of the width, JPEG of quality 60, 30 or 12, and a patch over 0, 4 or 10 % of the area.

    The patch stands in one place throughout an episode, in each camera its own, and never in the middle third.
    """

    def begin(self, generator: np.random.Generator) -> None:
        """Choose where the patches stand."""
        super().begin(generator)
        self._patches: dict[str, tuple[float, float]] = {}
        self._grey = int(generator.integers(30, 200))

    def see(self, camera: str, image: ImageArray) -> ImageArray:
        """Return the spoiled picture."""
        size = image.shape[0]
        picture = Image.fromarray(image).filter(ImageFilter.GaussianBlur(self.scaled(0.002, 0.004, 0.007) * size))
        buffer = io.BytesIO()
        picture.save(buffer, format="JPEG", quality=int(self.scaled(60, 30, 12)))
        spoiled = np.array(Image.open(buffer))
        side = round(size * self.scaled(0.0, 0.04, 0.10) ** 0.5)
        row, column = (round(share * (size - side)) for share in self._patch(camera))
        spoiled[row : row + side, column : column + side] = self._grey
        return spoiled

    def _patch(self, camera: str) -> tuple[float, float]:
        if camera not in self._patches:
            near, along = float(self.generator.integers(2)), float(self.generator.uniform(0.0, 1.0))
            upright = bool(self.generator.integers(2))
            self._patches[camera] = (near, along) if upright else (along, near)
        return self._patches[camera]
