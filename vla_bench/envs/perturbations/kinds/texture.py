"""Table, floor and walls have other colours and patterns."""

from typing import TYPE_CHECKING

import numpy as np

from vla_bench.envs.perturbations.effect import Effect, axes

if TYPE_CHECKING:
    from vla_bench.envs.simulation import Simulation

_ROBOT_PARTS = ("robot", "fixed_mount", "gripper")  # what names of a robot's bodies begin with


@axes.named("texture")
class TextureEffect(Effect):
    """Colours of what never moves go 15, 40 or 80 % of the way to a random one; from 2 on patterns change in size."""

    def change(self, simulation: "Simulation", generator: np.random.Generator) -> None:
        """Change the materials, or the plain colours, of the scenery's geoms."""
        share, models = self.scaled(0.15, 0.4, 0.8), simulation.models()
        scenery = _scenery(simulation)
        materials = sorted({int(models[0].geom_matid[geom]) for geom in scenery} - {-1})
        plain = [geom for geom in scenery if models[0].geom_matid[geom] < 0]
        draws = {("mat_rgba", material): generator.uniform(0.1, 1.0, 3) for material in materials}
        draws |= {("geom_rgba", geom): generator.uniform(0.1, 1.0, 3) for geom in plain}
        stretch = 2.0 ** generator.uniform(-1.0, 1.0, len(materials))
        for model in models:
            for (field, number), colour in draws.items():
                rgb = getattr(model, field)[number, :3]
                rgb[:] = (1.0 - share) * rgb + share * colour
            if self.severity > 1:
                for material, factor in zip(materials, stretch, strict=True):
                    model.mat_texrepeat[material] *= factor


def _scenery(simulation: "Simulation") -> list[int]:
    """Return the geoms of what hangs on the world without a joint and is no item's and no robot's."""
    model = simulation.models()[0]
    items = {body for bodies in simulation.item_bodies().values() for body in bodies}
    fixed = [
        body
        for body in range(model.nbody)
        if model.body_weldid[body] == 0 and model.body_mocapid[body] < 0 and body not in items
        if not model.body(body).name.startswith(_ROBOT_PARTS)
    ]
    return [geom for geom in range(model.ngeom) if int(model.geom_bodyid[geom]) in fixed]
