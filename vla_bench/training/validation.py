"""How well a network predicts actions that it was not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vla_bench.models.losses import SmoothedTokenLoss
from vla_bench.models.normalization import DatasetStatistics
from vla_bench.models.openvla.action_tokens import ActionTokenizer
from vla_bench.models.openvla.network import OpenVLA
from vla_bench.training.batches import BatchMaker

_BATCH = 64


@dataclass(frozen=True)
class Validation:
    """Means over all predicted actions of the validation frames."""

    loss: float
    action_l1: float  # mean absolute error over the seven numbers, in the units of actions
    token_accuracy: float  # share of tokens whose likeliest value is the right one
    frames: int


def validate(
    model: OpenVLA, maker: BatchMaker, loss: SmoothedTokenLoss, statistics: DatasetStatistics, frames: int
) -> Validation | None:
    """Return how `model` does on at most `frames` frames spread evenly; None where there are no validation episodes."""
    if len(maker.dataset) == 0:
        return None
    chosen = np.unique(np.linspace(0, len(maker.dataset) - 1, min(frames, len(maker.dataset))).astype(np.int64))
    was_training = model.training
    model.eval()
    with torch.no_grad():
        rows = [_errors(model, maker, loss, statistics, part) for part in _parts(chosen)]
    model.train(was_training)
    means = np.average(np.array([row[1:] for row in rows]), axis=0, weights=[row[0] for row in rows])
    return Validation(float(means[0]), float(means[1]), float(means[2]), len(chosen))


def _errors(
    model: OpenVLA,
    maker: BatchMaker,
    loss: SmoothedTokenLoss,
    statistics: DatasetStatistics,
    frames: NDArray[np.int64],
) -> tuple[int, float, float, float]:
    device = next(model.parameters()).device
    batch = maker.batch(frames).to(device)
    logits = batch.logits(model)
    config = model.config
    tokens = ActionTokenizer(config.vocab_end, config.n_action_bins)
    decode = tokens.expected_action if config.decoding == "parallel" else tokens.most_likely_action
    wanted = maker.actions(frames)
    said, right = logits[:, : wanted[0].size], batch.answer[:, : wanted[0].size]  # without a stop token
    predicted = statistics.action.unnormalise(decode(said).cpu().numpy().reshape(wanted.shape))
    accuracy = (said.argmax(dim=-1) == right).float().mean().item()
    return len(frames), loss(logits, batch.answer).item(), float(np.abs(predicted - wanted).mean()), accuracy


def _parts(frames: NDArray[np.int64]) -> Sequence[NDArray[np.int64]]:
    return [frames[start : start + _BATCH] for start in range(0, len(frames), _BATCH)]
