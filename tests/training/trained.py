"""Small networks that a few real steps of a method have changed, and what was saved of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from tests.models.small import inputs, small_checkpoint
from vla_bench.models.adapters import BaseReference
from vla_bench.models.openvla.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from vla_bench.models.openvla.config import Decoding
from vla_bench.models.openvla.weights import weights_digest
from vla_bench.training.methods import METHODS, MethodOptions, TrainableNetwork
from vla_bench.training.methods.method import apply_method

STEPS = 12
CHANGES: dict[str, dict[str, Any]] = {"adapter": {"reduction": 4, "adapt_vision": True}}  # of small networks


@dataclass(frozen=True)
class TrainedNetwork:
    """A network in memory as it was trained, and the folders of what was saved."""

    checkpoint: Checkpoint
    trained: TrainableNetwork
    base: Path
    output: Path


def train(
    folder: Path,
    method: str,
    decoding: Decoding = "parallel",
    dtype: torch.dtype = torch.float32,
    count: int = STEPS,
    **options: Any,
) -> TrainedNetwork:
    """Take a few steps of `method` on random answers, in evaluation mode, and save what was trained."""
    base, output = folder / "base", folder / method
    if not base.exists():
        save_checkpoint(base, small_checkpoint(decoding))
    checkpoint = load_checkpoint(base)
    checkpoint.model.to(dtype)
    torch.manual_seed(0)
    chosen = MethodOptions(method=method, **{"rank": 4, "alpha": 16, **CHANGES.get(method, {}), **options})
    trained = apply_method(checkpoint.model, chosen)
    steps(checkpoint, count)
    output.mkdir()
    reference = BaseReference(str(base), weights_digest(base), METHODS[method].quantization)
    trained.save(output, reference, checkpoint)
    return TrainedNetwork(checkpoint, trained, base, output)


def steps(checkpoint: Checkpoint, count: int) -> None:
    """Train what wants a gradient on random answers."""
    batch, config = inputs(checkpoint, 4), checkpoint.config
    batch = {
        name: value.to(precision(checkpoint)) if value.is_floating_point() else value for name, value in batch.items()
    }
    answer = torch.randint(config.vocab_end - 256, config.vocab_end, (4, config.num_slots))
    parameters = [value for value in checkpoint.model.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=1e-2)
    for _ in range(count):
        logits = checkpoint.model.answer_logits(answer=answer, **batch)
        loss = functional.cross_entropy(logits.flatten(0, 1).float(), answer.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def logits(checkpoint: Checkpoint, *, learned: bool = False) -> torch.Tensor:
    """Return the network's logits of actions, in float32, in situations that it was trained on or others."""
    batch = inputs(checkpoint, 4) if learned else inputs(checkpoint, 3, seed=7)
    batch = {
        name: value.to(precision(checkpoint)) if value.is_floating_point() else value for name, value in batch.items()
    }
    with torch.no_grad():
        return checkpoint.model.eval().action_logits(**batch).float()


def precision(checkpoint: Checkpoint) -> torch.dtype:
    """Return the precision that the network computes in."""
    return checkpoint.model.language_model.lm_head.weight.dtype
