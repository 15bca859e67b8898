"""Perturbations: effects, the registry of axes, and parsing of `camera=2,lighting=1` or the name of a set."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vla_bench.core.errors import UnknownNameError, VlaBenchError
from vla_bench.core.registry import Registry
from vla_bench.core.types import FloatArray, ImageArray
from vla_bench.tasks.task import Task

if TYPE_CHECKING:
    import mujoco

    from vla_bench.envs.simulation import Simulation

SEVERITIES = (1, 2, 3)

NAMED_SETS: dict[str, tuple[str, ...]] = {  # axes, all at the severity that follows the name, as in `visual-2`
    "visual": ("camera", "lighting", "texture", "colour", "distractors"),
    "physical": ("layout", "robot", "size", "dynamics"),
    "signal": ("sensor", "action"),
}

_AXIS_SEVERITY = re.compile(r"^\s*([a-z_]+)\s*=\s*(\d+)\s*$")


class PerturbationError(VlaBenchError):
    """An unknown perturbation, or an axis that does not apply to a task."""


class Effect:
    """One axis at one severity. An axis overrides the methods that it needs; by default a method changes nothing.

    In an episode the methods are called in the order below, each with the axis's own random generator.
    """

    def __init__(self, severity: int) -> None:
        self.severity = severity

    def by_severity(self, one: float, two: float, three: float) -> float:
        """Return the value for this effect's severity."""
        return (one, two, three)[self.severity - 1]

    def modify_task(self, task: Task) -> Task:
        """Return the task with additional objects; raise `PerturbationError` if the axis does not apply to it."""
        return task

    def check(self, simulation: "Simulation") -> None:
        """Raise `PerturbationError` if the scene has nothing that the axis could change."""

    def modify_models(self, simulation: "Simulation", generator: np.random.Generator) -> None:
        """Change fields of `simulation.models()`, which are as compiled, before the objects are placed."""

    def disturb(
        self, simulation: "Simulation", model: "mujoco.MjModel", data: "mujoco.MjData", generator: np.random.Generator
    ) -> None:
        """Move what has been placed, before it settles."""

    def modify_instruction(self, task: Task, instruction: str, generator: np.random.Generator) -> str:
        """Return the instruction of the episode."""
        return instruction

    def begin_episode(self, generator: np.random.Generator) -> None:
        """Prepare for the actions and images of an episode."""
        self._generator = generator

    @property
    def generator(self) -> np.random.Generator:
        """The axis's random generator, for changes during the episode."""
        return self._generator

    def modify_action(self, action: FloatArray) -> FloatArray:
        """Return the action that is executed instead of `action`, (7,) for each arm."""
        return action

    def modify_image(self, camera: str, image: ImageArray) -> ImageArray:
        """Return the image that the policy receives instead of `image`, (H, W, 3)."""
        return image


perturbation_axes: Registry[Callable[[int], Effect]] = Registry(
    "perturbation axis", package="vla_bench.envs.perturbations.axes"
)


@dataclass(frozen=True)
class Perturbation:
    """Axes and their severities, in alphabetical order. Without axes it is the clean environment."""

    severities: tuple[tuple[str, int], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Perturbation":
        """Parse `axis=severity,...` or `set-severity`.

        Raises:
            UnknownNameError: for an unknown axis or set.
            PerturbationError: for another format, or a severity out of range.
        """
        name, _, level = text.strip().partition("-")
        if name in NAMED_SETS and level.isdigit():
            return cls.of({axis: int(level) for axis in NAMED_SETS[name]})
        found: dict[str, int] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            match = _AXIS_SEVERITY.match(part)
            if match is None and level.isdigit():
                raise UnknownNameError("set of perturbations", name, NAMED_SETS)
            if match is None:
                sets = ", ".join(f"{name}-2" for name in NAMED_SETS)
                raise PerturbationError(
                    f"Perturbation {part!r} has an unknown format. Expected `axis=severity`, such as `camera=2`, or a "
                    f"named set: {sets}."
                )
            if match[1] in found:
                raise PerturbationError(f"Axis {match[1]!r} occurs twice in the perturbation {text!r}. Expected once.")
            found[match[1]] = int(match[2])
        return cls.of(found)

    @classmethod
    def of(cls, severities: dict[str, int]) -> "Perturbation":
        """Return the perturbation with these severities by axis; raise the errors of `parse`."""
        for axis, severity in severities.items():
            if axis not in perturbation_axes:
                raise UnknownNameError("perturbation axis", axis, perturbation_axes)
            if severity not in SEVERITIES:
                raise PerturbationError(
                    f"Perturbation {axis}={severity} is out of range. Severities are 1, 2 and 3; leave the axis out to "
                    "switch it off."
                )
        return cls(tuple(sorted(severities.items())))

    def __str__(self) -> str:
        return ",".join(f"{axis}={severity}" for axis, severity in self.severities)

    def __bool__(self) -> bool:
        return bool(self.severities)

    def effects(self) -> Iterator[tuple[str, Effect]]:
        """Yield each axis's name and a new effect."""
        for axis, severity in self.severities:
            yield axis, perturbation_axes[axis](severity)


CLEAN = Perturbation()


def set_names() -> dict[str, str]:
    """Return the short name, such as `visual-2`, of every perturbation that is a named set."""
    shorts = [f"{name}-{severity}" for name in NAMED_SETS for severity in SEVERITIES]
    return {str(Perturbation.parse(short)): short for short in shorts}
