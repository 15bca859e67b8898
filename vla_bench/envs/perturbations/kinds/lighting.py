"""Light is brighter or dimmer, of another tint, and falls from elsewhere."""

from typing import TYPE_CHECKING

import numpy as np

from vla_bench.envs.perturbations.effect import Effect, axes

if TYPE_CHECKING:
    from vla_bench.envs.simulation import Simulation


@axes.named("lighting")
class LightingEffect(Effect):
    """Brightness by up to 15, 35 or 60 %, tint by up to 5, 12 or 25 %, direction by up to 10, 25 or 45 degrees."""

    def change(self, simulation: "Simulation", generator: np.random.Generator) -> None:
        """Change all lights and the one at the camera."""
        brightness, tint = self.scaled(0.15, 0.35, 0.6), self.scaled(0.05, 0.12, 0.25)
        swing = np.tan(np.radians(self.scaled(10.0, 25.0, 45.0)))
        # Both ends are as likely: a third dimmer is as far from the usual as half as bright again.
        factor = (1.0 - brightness) ** generator.uniform(-1.0, 1.0)
        colour = factor * (1.0 + tint * generator.uniform(-1.0, 1.0, 3))
        sideways = swing * generator.uniform(-1.0, 1.0, 3)
        for model in simulation.models():
            model.light_ambient[:] = np.clip(model.light_ambient * colour, 0.0, 1.0)
            model.light_diffuse[:] = np.clip(model.light_diffuse * colour, 0.0, 1.0)
            directions = model.light_dir + sideways * np.linalg.norm(model.light_dir, axis=1, keepdims=True)
            model.light_dir[:] = directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-9)
            headlight = model.vis.headlight
            headlight.ambient[:] = np.clip(headlight.ambient * colour, 0.0, 1.0)
            headlight.diffuse[:] = np.clip(headlight.diffuse * colour, 0.0, 1.0)
