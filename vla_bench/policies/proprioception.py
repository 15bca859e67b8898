"""The proprioception that a card names, picked from what the environments send."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.errors import ConventionError
from vla_bench.core.types import Observation, ProprioceptionField
from vla_bench.policies.conventions import AxisAngleConvention, axis_angle_from_robosuite

_ROTATION_FIELDS = ("end_effector_axis_angle", "hand_axis_angle")


@dataclass(frozen=True, eq=False)
class ProprioceptionReader:
    """Reads chosen numbers of an observation, in the order and convention of training."""

    indices: NDArray[np.intp]
    rotations: tuple[slice, ...]  # where axis-angles stand among them
    convention: AxisAngleConvention

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        fields: Sequence[ProprioceptionField],
        convention: AxisAngleConvention,
        expected: int,
    ) -> "ProprioceptionReader":
        """Return the reader of the fields `names`. Raises `ConventionError` when they are not `expected` numbers."""
        ends = np.cumsum([field.size for field in fields])
        places = {field.name: np.arange(end - field.size, end) for field, end in zip(fields, ends, strict=True)}
        indices = np.concatenate([np.zeros(0, dtype=np.intp), *(places[name] for name in names)])
        if len(indices) != expected:
            sizes = ", ".join(f"{name} ({len(places[name])})" for name in names) or "none"
            raise ConventionError(f"The network takes {expected} numbers of proprioception, the card names {sizes}.")
        starts = np.cumsum([0, *(len(places[name]) for name in names)])
        rotations = tuple(
            slice(start, start + 3) for name, start in zip(names, starts, strict=False) if name in _ROTATION_FIELDS
        )
        return cls(indices, rotations, convention)

    def read(self, observations: Sequence[Observation]) -> NDArray[np.float32]:
        """Return (B, P), in the environments' units."""
        values = np.stack([observation["proprioception"][self.indices] for observation in observations])
        for rotation in self.rotations:
            values[:, rotation] = axis_angle_from_robosuite(values[:, rotation], self.convention)
        result: NDArray[np.float32] = values.astype(np.float32)
        return result
