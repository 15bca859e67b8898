"""Objects are heavier or lighter, and more or less slippery."""

from typing import TYPE_CHECKING

import numpy as np

from vla_bench.envs.perturbations.effect import Effect, axes

if TYPE_CHECKING:
    from vla_bench.envs.simulation import Simulation


@axes.named("dynamics")
class DynamicsEffect(Effect):
    """Mass by a factor of up to 1.3, 1.7 or 2.5, sliding friction by up to 1.15, 1.3 or 1.5, either way."""

    def change(self, simulation: "Simulation", generator: np.random.Generator) -> None:
        """Change every item on its own."""
        heavier, rougher = self.scaled(1.3, 1.7, 2.5), self.scaled(1.15, 1.3, 1.5)
        for bodies in simulation.item_bodies().values():
            mass, friction = heavier ** generator.uniform(-1.0, 1.0), rougher ** generator.uniform(-1.0, 1.0)
            for model in simulation.models():
                for body in bodies:
                    model.body_mass[body] *= mass
                    model.body_subtreemass[body] *= mass
                    model.body_inertia[body] *= mass
                    model.geom_friction[model.geom_bodyid == body, 0] *= friction
