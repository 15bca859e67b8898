"""Training samples and random draws, the inputs of augmentations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.types import ImageArray


@dataclass(frozen=True, eq=False)
class Samples:
    """Rows of training data before they become tensors."""

    images: ImageArray  # (B, cameras, H, W, 3)
    actions: NDArray[np.float32]  # (B, chunk_size, 7), in the units of actions
    proprioception: NDArray[np.float32]  # (B, P), as recorded
    instructions: tuple[str, ...]  # (B,)

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Draw:
    """Where the random numbers of a batch come from, and which of its rows are wanted.

    Numbers are drawn for the whole batch, so that processes which share one draw what a single process would.
    """

    generator: np.random.Generator
    rows: int  # of the whole batch
    start: int = 0  # the first row wanted
