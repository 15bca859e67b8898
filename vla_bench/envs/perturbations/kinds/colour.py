"""Objects are lighter or darker and more or less colourful; their hue hardly changes, so that instructions hold."""

import colorsys
from typing import TYPE_CHECKING

import numpy as np

from vla_bench.core.types import FloatArray
from vla_bench.envs.perturbations.effect import Effect, axes

if TYPE_CHECKING:
    from vla_bench.envs.simulation import Simulation

_HUE_TURN = 0.02  # of a whole turn


@axes.named("colour")
class ColourEffect(Effect):
    """Brightness and saturation of every item by up to 10, 20 or 35 %."""

    def change(self, simulation: "Simulation", generator: np.random.Generator) -> None:
        """Change the colours of all geoms of an item alike, and of the materials that only items have."""
        share, models = self.scaled(0.1, 0.2, 0.35), simulation.models()
        model = models[0]
        for bodies in simulation.item_bodies().values():
            value, saturation = 1.0 + share * generator.uniform(-1.0, 1.0, 2)
            hue = _HUE_TURN * share / 0.35 * generator.uniform(-1.0, 1.0)
            geoms = np.flatnonzero(np.isin(model.geom_bodyid, list(bodies)))
            materials = sorted({int(model.geom_matid[geom]) for geom in geoms} - {-1})
            for changed in models:
                for geom in geoms:
                    changed.geom_rgba[geom, :3] = _shaded(changed.geom_rgba[geom, :3], hue, saturation, value)
                for material in materials:
                    changed.mat_rgba[material, :3] = _shaded(changed.mat_rgba[material, :3], hue, saturation, value)


def _shaded(rgb: FloatArray, hue: float, saturation: float, value: float) -> tuple[float, float, float]:
    h, s, v = colorsys.rgb_to_hsv(*(float(part) for part in rgb))
    return colorsys.hsv_to_rgb((h + hue) % 1.0, min(1.0, s * saturation), min(1.0, v * value))
