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


# ~ What an axis of perturbation may do to an episode, and the registry of axes.

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


perturbation_axes: Registry[Callable[[int], Effect]] = Registry(
    "perturbation axis", package="vla_bench.envs.perturbations.axes"
)


# ~ How a perturbation is written: `camera=2,lighting=1`, or the name of a set.

_ITEM = re.compile(r"^\s*([a-z_]+)\s*=\s*(\d+)\s*$")

NAMED_SETS: dict[str, tuple[str, ...]] = {  # axes, all at the severity that follows the name: `visual-2`
    "visual": ("camera", "lighting", "texture", "colour", "distractors"),
    "physical": ("layout", "robot", "size", "dynamics"),
    "signal": ("sensor", "action"),
}


@dataclass(frozen=True)
class Perturbation:
    """Axes and their severities, in alphabetical order; none at all is the clean environment."""

    severities: tuple[tuple[str, int], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Perturbation":
        """Read `axis=severity,...` or `set-severity`; raise `PerturbationError` or `UnknownNameError`."""
        name, _, level = text.strip().partition("-")
        if name in NAMED_SETS and level.isdigit():
            return cls.of({axis: int(level) for axis in NAMED_SETS[name]})
        found: dict[str, int] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            match = _ITEM.match(part)
            if match is None and level.isdigit():
                raise UnknownNameError("set of perturbations", name, NAMED_SETS)
            if match is None:
                sets = ", ".join(f"{name}-2" for name in NAMED_SETS)
                raise PerturbationError(f"{part!r} does not read as `axis=severity`, such as `camera=2`, or {sets}.")
            if match[1] in found:
                raise PerturbationError(f"Axis {match[1]!r} is named twice in {text!r}.")
            found[match[1]] = int(match[2])
        return cls.of(found)

    @classmethod
    def of(cls, severities: dict[str, int]) -> "Perturbation":
        """Return the perturbation; raise `UnknownNameError` or `PerturbationError` for what is not there."""
        for axis, severity in severities.items():
            if axis not in perturbation_axes:
                raise UnknownNameError("perturbation axis", axis, perturbation_axes)
            if severity not in SEVERITIES:
                raise PerturbationError(f"{axis}={severity}: severities are 1, 2 and 3. Leave the axis out for none.")
        return cls(tuple(sorted(severities.items())))

    def __str__(self) -> str:
        return ",".join(f"{axis}={severity}" for axis, severity in self.severities)

    def __bool__(self) -> bool:
        return bool(self.severities)

    def effects(self) -> Iterator[tuple[str, Effect]]:
        """Yield a new effect of each axis, with the axis's name."""
        for axis, severity in self.severities:
            yield axis, perturbation_axes[axis](severity)


CLEAN = Perturbation()


def set_names() -> dict[str, str]:
    """Return the short name, such as `visual-2`, of every perturbation that is a named set."""
    shorts = [f"{name}-{severity}" for name in NAMED_SETS for severity in SEVERITIES]
    return {str(Perturbation.parse(short)): short for short in shorts}
