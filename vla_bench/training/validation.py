"""Validation on held-out episodes, and a check that no episode is in both the training and the validation set."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vla_bench.core.errors import ConventionError
from vla_bench.models.normalization import DatasetStatistics
from vla_bench.training.batches import BatchMaker
from vla_bench.training.config import Precision
from vla_bench.training.dataset import DemonstrationDataset
from vla_bench.training.distributed import SINGLE_PROCESS, ProcessGroup
from vla_bench.training.objectives import Objective
from vla_bench.training.precision import autocast_context

_BATCH_SIZE = 64


@dataclass(frozen=True)
class Validation:
    """Means over all predicted actions of the validation frames."""

    loss: float
    action_l1: float  # mean absolute error over the seven action components, not normalized
    token_accuracy: float | None  # fraction of tokens predicted correctly; None without tokens
    frames: int


@dataclass(frozen=True)
class Validator:
    """Evaluates a network on a fixed set of frames, distributed over the processes."""

    maker: BatchMaker
    objective: Objective
    statistics: DatasetStatistics
    frames: int  # maximum number, evenly spread
    precision: Precision = "float32"
    processes: ProcessGroup = SINGLE_PROCESS

    def __call__(self, model: nn.Module) -> Validation | None:
        """Return the validation of `model`; None if there are no validation episodes."""
        available = len(self.maker.dataset)
        if available == 0:
            return None
        chosen = np.unique(np.linspace(0, available - 1, min(self.frames, available)).astype(np.int64))
        own = _split_into_batches(chosen)[self.processes.rank :: self.processes.count]
        was_training = model.training
        model.eval()
        with torch.no_grad():
            rows = [self._errors(model, part) for part in own]
        model.train(was_training)
        sums = self.processes.all_reduce_sum(np.sum([np.zeros(4), *rows], axis=0).tolist())
        loss, action_l1, accuracy = (value / sums[0] for value in sums[1:])
        return Validation(loss, action_l1, None if np.isnan(accuracy) else accuracy, len(chosen))

    def _errors(self, model: nn.Module, frames: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the number of frames, and the sums of loss, action error and token accuracy over them."""
        device = next(model.parameters()).device
        batch = self.maker.batch(frames).to(device)
        with autocast_context(self.precision, device):
            answer = self.objective.answer(model, batch)
            loss = self.objective.loss(answer, batch).item()
        predicted = self.objective.predicted_actions(answer, batch).float().cpu().numpy()
        error = np.abs(self.statistics.action.unnormalize(predicted) - self.maker.actions(frames)).mean()
        accuracy = self.objective.token_accuracy(answer, batch)
        means = np.array([1.0, loss, error, np.nan if accuracy is None else accuracy], dtype=np.float64)
        return means * float(len(frames))


def _split_into_batches(frames: NDArray[np.int64]) -> Sequence[NDArray[np.int64]]:
    return [frames[start : start + _BATCH_SIZE] for start in range(0, len(frames), _BATCH_SIZE)]


def require_disjoint(train: DemonstrationDataset, valid: DemonstrationDataset) -> None:
    """Raise `ConventionError` if an episode is in both datasets.

    Episodes are identified by their actions and proprioception. Files with common episodes and different splits cause
    such a leak, and files with overlapping subsets.
    """
    trained = _episode_digests(train)
    for digest, source in _episode_digests(valid).items():
        if digest in trained:
            other = trained[digest]
            same = "" if other == source else f", as the same episode as {other},"
            raise ConventionError(
                f"{source} is in the validation set and{same} in the training set, so the validation error would be "
                "meaningless. Leave out one of the files, or split them again (`vla-bench demos merge`, then `split`)."
            )


def _episode_digests(dataset: DemonstrationDataset) -> dict[str, str]:
    """Return file and demonstration by digest of the episode."""
    ends = np.unique(dataset.last_frame) + 1
    starts = [0, *ends[:-1]]
    digests = (
        hashlib.sha256(dataset.actions[start:end].tobytes() + dataset.proprioception[start:end].tobytes()).hexdigest()
        for start, end in zip(starts, ends, strict=True)
    )
    return dict(zip(digests, dataset.sources, strict=True)) if dataset.sources else {}
