"""A loss that is no number: which samples it came from, and what to do about it."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from vla_bench.core.errors import VlaBenchError
from vla_bench.training.batches import Batch

_NAMED = 3  # samples


class TrainingDivergedError(VlaBenchError):
    """A loss or gradient that is no number."""

    def __init__(self, step: int, kept_step: int, output: Path, samples: int, culprits: Sequence[str]) -> None:
        kept = (
            f"the checkpoint of step {kept_step} is kept in {output}"
            if kept_step
            else "no checkpoint had been kept yet"
        )
        super().__init__(f"The loss became infinite at step {step}; {kept}. {_blamed(samples, culprits)}")


def culprits_of(batch: Batch, loss_of: Callable[[Batch], torch.Tensor], names: Iterable[str]) -> list[str]:
    """Return the names of the rows of `batch` whose own loss is no number."""
    with torch.no_grad():
        return [
            name
            for row, name in enumerate(names)
            if not torch.isfinite(loss_of(batch.rows(slice(row, row + 1)))).item()
        ]


def _blamed(samples: int, culprits: Sequence[str]) -> str:
    lower = "Lower the learning rate and start again."
    if not culprits:
        return f"Each of the {samples} samples of the step gives a finite loss alone: the gradient overflowed. {lower}"
    if len(culprits) == samples:
        return f"All {samples} samples of the step give no number, so the weights have diverged. {lower}"
    named = ", ".join(culprits[:_NAMED]) + (" and others" if len(culprits) > _NAMED else "")
    return (
        f"{len(culprits)} of the {samples} samples of the step give no number: {named}. Look at them or leave them out."
    )
