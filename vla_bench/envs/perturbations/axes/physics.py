"""Axes that change the robot's start state and the objects' physics: robot, size and dynamics."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from vla_bench.envs.perturbations.perturbation import Effect, PerturbationError, perturbation_axes

if TYPE_CHECKING:
    import mujoco

    from vla_bench.envs.simulation import Simulation

_MESH = 7  # mjtGeom.mjGEOM_MESH
_FREE = 0  # mjtJoint.mjJNT_FREE


@perturbation_axes.named("robot")
class RobotEffect(Effect):
    """Start posture: every joint of the arm shifted by up to 0.04, 0.08 or 0.14 rad, besides the usual noise."""

    def disturb(
        self, simulation: "Simulation", model: "mujoco.MjModel", data: "mujoco.MjData", generator: np.random.Generator
    ) -> None:
        """Shift the arm's joints."""
        joints = simulation.arm_qpos_addresses()
        data.qpos[joints] += self.by_severity(0.04, 0.08, 0.14) * generator.uniform(-1.0, 1.0, len(joints))


@perturbation_axes.named("size")
class SizeEffect(Effect):
    """Objects that are free to move: scaled by up to 4, 8 or 12 %, their mass with their volume."""

    def check(self, simulation: "Simulation") -> None:
        """Raise `PerturbationError` unless an item is free to move and has no mesh."""
        model = simulation.models()[0]
        if not any(_can_be_scaled(model, body) for bodies in simulation.item_bodies().values() for body in bodies):
            raise PerturbationError("Axis 'size' needs objects of plain shapes that are free to move: there are none.")

    def modify_models(self, simulation: "Simulation", generator: np.random.Generator) -> None:
        """Scale bodies, geoms and sites."""
        share, models = self.by_severity(0.04, 0.08, 0.12), simulation.models()
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
        model.bvh_aabb[first : first + count] *= factor  # the collision tree of a body with several geoms
    model.body_ipos[body] *= factor
    model.body_mass[body] *= factor**3
    model.body_subtreemass[body] *= factor**3
    model.body_inertia[body] *= factor**5


@perturbation_axes.named("dynamics")
class DynamicsEffect(Effect):
    """Objects: mass times or divided by up to 1.3, 1.7 or 2.5, sliding friction by up to 1.15, 1.3 or 1.5."""

    def modify_models(self, simulation: "Simulation", generator: np.random.Generator) -> None:
        """Change every item independently."""
        mass_factor, friction_factor = self.by_severity(1.3, 1.7, 2.5), self.by_severity(1.15, 1.3, 1.5)
        for bodies in simulation.item_bodies().values():
            mass = mass_factor ** generator.uniform(-1.0, 1.0)
            friction = friction_factor ** generator.uniform(-1.0, 1.0)
            for model in simulation.models():
                for body in bodies:
                    model.body_mass[body] *= mass
                    model.body_subtreemass[body] *= mass
                    model.body_inertia[body] *= mass
                    model.geom_friction[model.geom_bodyid == body, 0] *= friction
