"""Objects that are picked up are smaller or larger."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from vla_bench.envs.perturbations.effect import Effect, PerturbationError, axes

if TYPE_CHECKING:
    import mujoco

    from vla_bench.envs.simulation import Simulation

_MESH = 7  # mjtGeom.mjGEOM_MESH
_FREE = 0  # mjtJoint.mjJNT_FREE


@axes.named("size")
class SizeEffect(Effect):
    """Every item that is free to move is scaled by up to 4, 8 or 12 %, its mass with the volume."""

    def check(self, simulation: "Simulation") -> None:
        """Raise `PerturbationError` where no item is free to move and made of plain shapes."""
        model = simulation.models()[0]
        if not any(_can_be_scaled(model, body) for bodies in simulation.item_bodies().values() for body in bodies):
            raise PerturbationError("Axis 'size' needs objects of plain shapes that are free to move: there are none.")

    def change(self, simulation: "Simulation", generator: np.random.Generator) -> None:
        """Scale bodies, geoms and sites."""
        share, models = self.scaled(0.04, 0.08, 0.12), simulation.models()
        for bodies in simulation.item_bodies().values():
            factor = 1.0 + share * generator.uniform(-1.0, 1.0)
            for body in filter(partial(_can_be_scaled, models[0]), bodies):
                for model in models:
                    _scale(model, body, factor)


def _can_be_scaled(model: "mujoco.MjModel", body: int) -> bool:
    free = model.body_jntnum[body] == 1 and model.jnt_type[model.body_jntadr[body]] == _FREE
    return bool(free and not (model.geom_type[model.geom_bodyid == body] == _MESH).any())


def _scale(model: "mujoco.MjModel", body: int, factor: float) -> None:
    geoms, sites = np.flatnonzero(model.geom_bodyid == body), np.flatnonzero(model.site_bodyid == body)
    for array in (model.geom_size, model.geom_pos, model.geom_rbound, model.geom_aabb):
        array[geoms] *= factor
    for array in (model.site_pos, model.site_size):
        array[sites] *= factor
    first, count = model.body_bvhadr[body], model.body_bvhnum[body]
    if first >= 0:
        model.bvh_aabb[first : first + count] *= factor  # what finds collisions of a body with many geoms
    model.body_ipos[body] *= factor
    model.body_mass[body] *= factor**3
    model.body_subtreemass[body] *= factor**3
    model.body_inertia[body] *= factor**5
