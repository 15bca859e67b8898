"""What an expert is."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.types import World


class Expert(Protocol):
    """Something that solves a task from the simulator's state."""

    @property
    def phase(self) -> str:
        """What the last action was for."""

    def reset(self, world: World, generator: np.random.Generator) -> None:
        """Begin an episode."""

    def act(self, world: World) -> NDArray[np.float32]:
        """Return the next action in [-1, 1]: 7 numbers for each arm, the right one's first."""
