"""Which samples each optimiser step takes, on each process."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_bench.training.batches import frames_at


@dataclass(frozen=True)
class MicroBatch:
    """One process's share of one batch."""

    number: int  # of the batch, counted over the whole run: random numbers follow from it
    frames: NDArray[np.int64]  # of this process
    rows: int  # of the batch, all processes together
    start: int  # row of this process's first frame
    weight: float  # share of the step's samples that this process's frames are


@dataclass(frozen=True)
class SampleOrder:
    """Split the order of training into steps, batches and shares; it depends on its fields alone.

    With `whole_epochs` every pass ends with a step of its own, smaller where samples are left over; else a step that
    ends one pass begins the next. `batch_size` is that of one process.
    """

    frames: int
    batch_size: int
    accumulate: int
    processes: int
    seed: int
    whole_epochs: bool

    @property
    def samples_per_step(self) -> int:
        """Samples of a step that is not the last of a pass."""
        return self.batch_size * self.accumulate * self.processes

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass over the data."""
        return math.ceil(self.frames / self.samples_per_step)

    def share(self, step: int, process: int) -> tuple[MicroBatch, ...]:
        """Return what `process` takes of step `step`, both counted from 0; no more than `accumulate` batches."""
        positions = self._positions(step)
        batches = []
        for part in range(self.accumulate):
            whole = positions[part * self.batch_size * self.processes :][: self.batch_size * self.processes]
            start = min(process * self.batch_size, len(whole))
            own = whole[start : start + self.batch_size]
            if len(own):
                frames = frames_at(own, self.frames, self.seed)
                number = step * self.accumulate + part
                batches.append(MicroBatch(number, frames, len(whole), start, len(own) / len(positions)))
        return tuple(batches)

    def _positions(self, step: int) -> NDArray[np.int64]:
        """Return the positions in the endless order that belong to `step`."""
        if not self.whole_epochs:
            return np.arange(step * self.samples_per_step, (step + 1) * self.samples_per_step)
        epoch, within = divmod(step, self.steps_per_epoch)
        first = within * self.samples_per_step
        return epoch * self.frames + np.arange(first, min(first + self.samples_per_step, self.frames))
