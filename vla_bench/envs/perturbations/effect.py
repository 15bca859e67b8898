"""What an axis of perturbation may do to an episode, and the registry of axes."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.registry import Registry
from vla_bench.core.types import FloatArray, ImageArray
from vla_bench.tasks.task import Task

if TYPE_CHECKING:
    import mujoco

    from vla_bench.envs.simulation import Simulation

SEVERITIES = (1, 2, 3)


class PerturbationError(VlaBenchError):
    """A perturbation that is not known, or that a task does not have."""


class Effect:
    """One axis at one severity. Every part does nothing unless an axis says otherwise.

    In an episode the parts are called in the order below, each with the axis's own generator.
    """

    def __init__(self, severity: int) -> None:
        self.severity = severity

    def scaled(self, one: float, two: float, three: float) -> float:
        """Return the value for this severity."""
        return (one, two, three)[self.severity - 1]

    def alter(self, task: Task) -> Task:
        """Return the task with further things in it; raise `PerturbationError` where that cannot be."""
        return task

    def check(self, simulation: "Simulation") -> None:
        """Raise `PerturbationError` where the scene has nothing that the axis could change."""

    def change(self, simulation: "Simulation", generator: np.random.Generator) -> None:
        """Change the fields of `simulation.models()` before anything is placed; they are as compiled."""

    def disturb(
        self, simulation: "Simulation", model: "mujoco.MjModel", data: "mujoco.MjData", generator: np.random.Generator
    ) -> None:
        """Move what has been placed, before it settles."""

    def instruct(self, task: Task, instruction: str, generator: np.random.Generator) -> str:
        """Return what the policy is told."""
        return instruction

    def begin(self, generator: np.random.Generator) -> None:
        """Begin an episode of acting and seeing."""
        self._generator = generator

    @property
    def generator(self) -> np.random.Generator:
        """The axis's generator, for what happens during the episode."""
        return self._generator

    def act(self, action: FloatArray) -> FloatArray:
        """Return the action that is executed in place of `action`, (7,)."""
        return action

    def see(self, camera: str, image: ImageArray) -> ImageArray:
        """Return what the policy sees in place of `image`, (H, W, 3)."""
        return image


axes: Registry[Callable[[int], Effect]] = Registry("perturbation axis", package="vla_bench.envs.perturbations.kinds")
