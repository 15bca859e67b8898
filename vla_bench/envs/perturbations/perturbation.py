"""How a perturbation is written: `camera=2,lighting=1`, or the name of a set."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vla_bench.core.errors import UnknownNameError
from vla_bench.envs.perturbations.effect import SEVERITIES, Effect, PerturbationError, axes

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
            if axis not in axes:
                raise UnknownNameError("perturbation axis", axis, axes)
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
            yield axis, axes[axis](severity)


CLEAN = Perturbation()


def set_names() -> dict[str, str]:
    """Return the short name, such as `visual-2`, of every perturbation that is a named set."""
    shorts = [f"{name}-{severity}" for name in NAMED_SETS for severity in SEVERITIES]
    return {str(Perturbation.parse(short)): short for short in shorts}
