"""Training samples and random draws, the inputs of augmentations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.types import ImageArray


@dataclass(frozen=True, eq=False)
class Samples:
    """Training samples before they are converted to tensors."""

    images: ImageArray  # (B, cameras, H, W, 3)
    actions: NDArray[np.float32]  # (B, chunk_size, 7), not normalized
    proprioception: NDArray[np.float32]  # (B, P), as recorded
    instructions: tuple[str, ...]  # (B,)

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Draw:
    """The random generator of a batch, and the first sample of this process in the batch.

    Random numbers are drawn for the whole batch, so that the result does not depend on the number of processes.
    """

    generator: np.random.Generator
    samples: int  # samples of the whole batch
    start: int = 0  # index of the first sample of this process
