"""Further things stand among the others."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from vla_bench.core.types import FloatArray
from vla_bench.envs.perturbations.effect import Effect, PerturbationError, axes
from vla_bench.tasks.task import Relation, Task

if TYPE_CHECKING:
    import mujoco

    from vla_bench.envs.engines.tabletop import TabletopSimulation
    from vla_bench.envs.simulation import Simulation

_PREFIX = "distractor_"
_POOL = ("yellow_cube", "black_can", "purple_cube", "milk_box", "orange_mug", "green_cube")  # the first unused
_CLEARANCE_M = 0.015
_TRIES = 400
_REACH_M = 0.07  # beyond the middles of the task's own things


@axes.named("distractors")
class DistractorsEffect(Effect):
    """One, two or three small objects that the task does not speak of stand beside its own."""

    def alter(self, task: Task) -> Task:
        """Add objects of kinds that the scene does not have; raise `PerturbationError` for scenes of others."""
        if task.engine != "tabletop":
            raise PerturbationError(f"{task.id} does not have axis 'distractors': its scene is {task.engine}'s own.")
        kinds = [kind for kind in _POOL if kind not in task.objects.values()][: self.severity]
        if len(kinds) < self.severity:
            raise PerturbationError(f"{task.id} has every distractor that there is in its scene already.")
        guests = {f"{_PREFIX}{kind}": kind for kind in kinds}
        relations = tuple(Relation("guest", (name,)) for name in guests)
        return replace(task, objects={**task.objects, **guests}, initial=task.initial + relations)

    def disturb(
        self, simulation: "Simulation", model: "mujoco.MjModel", data: "mujoco.MjData", generator: np.random.Generator
    ) -> None:
        """Put the distractors where there is room, near the task's own things."""
        simulation = cast("TabletopSimulation", simulation)
        world, footprints = simulation.world, simulation.footprints
        guests = [name for name in footprints if name.startswith(_PREFIX)]
        standing = {name: world.position_world(name)[:2] for name in footprints if name not in guests}
        middles = np.array(list(standing.values()))
        low, high = middles.min(axis=0) - _REACH_M, middles.max(axis=0) + _REACH_M
        for guest in guests:
            place = _free_place(guest, standing, simulation, low, high, generator)
            height_m = simulation.compiled.scene.surface_height_m - world.geometry(guest).bottom_m
            simulation.move_item(guest, np.array([*place, height_m]))
            standing[guest] = place


def _free_place(
    guest: str,
    standing: Mapping[str, FloatArray],
    simulation: "TabletopSimulation",
    low: FloatArray,
    high: FloatArray,
    generator: np.random.Generator,
) -> FloatArray:
    """Return the first free of the places drawn, or the freest where none is free."""
    best, most_room_m = low, -np.inf
    for _ in range(_TRIES):
        place = generator.uniform(low, high)
        room_m = (
            min(
                float(np.linalg.norm(place - other)) - simulation.footprints[name].radius_m
                for name, other in standing.items()
            )
            - simulation.footprints[guest].radius_m
        )
        if room_m > _CLEARANCE_M:
            return place
        if room_m > most_room_m:
            best, most_room_m = place, room_m
    return best
