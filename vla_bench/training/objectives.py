"""Training objectives: the loss of a network's answer to a batch, and the actions that the answer stands for."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch.nn import functional

from vla_bench.core.registry import Registry
from vla_bench.models.openvla.action_tokens import ActionTokenizer, SmoothedTokenLoss
from vla_bench.training.batches import Batch
from vla_bench.training.config import OptimizerConfig

_TOKENS = "tokens"


class Objective(Protocol):
    """One way of learning actions. A batch is answered once; everything else follows from the answer."""

    def answer(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return what `model` says to `batch`."""

    def loss(self, answer: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the mean over the samples of `batch`."""

    def predicted_actions(self, answer: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the normalised actions that the answer means, (B, chunk_size, 7)."""

    def token_accuracy(self, answer: torch.Tensor, batch: Batch) -> float | None:
        """Return the share of action tokens whose likeliest value is the right one; None without tokens."""


ObjectiveFactory = Callable[[Any, OptimizerConfig], Objective]  # of a network's configuration
objectives: Registry[ObjectiveFactory] = Registry("objective (the network's `action_head`)")


def objective_for(model: Any, options: OptimizerConfig) -> Objective:
    """Return the objective of a network: its configuration's `action_head`, action tokens where it has none."""
    return objectives[getattr(model.config, "action_head", None) or _TOKENS](model.config, options)


@objectives.named(_TOKENS)
class TokenCrossEntropy:
    """OpenVLA's: cross entropy of action tokens, with smoothed targets where `sigma_bins` is not 0."""

    def __init__(self, network: Any, options: OptimizerConfig) -> None:
        self._loss = SmoothedTokenLoss(network.vocab_end, network.n_action_bins, options.sigma_bins)
        tokens = ActionTokenizer(network.vocab_end, network.n_action_bins)
        self._decode = tokens.expected_action if network.decoding == "parallel" else tokens.most_likely_action

    def answer(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return logits at the tokens of the answer, (B, tokens, V)."""
        return batch.logits(model)

    def loss(self, answer: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the mean over tokens; every sample has as many."""
        return self._loss.to(answer.device)(answer, batch.answer)  # type: ignore[no-any-return]

    def predicted_actions(self, answer: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return what the network would do: as its decoding reads logits."""
        wanted = _require_actions(batch)
        return self._decode(answer[:, : wanted[0].numel()]).reshape(wanted.shape)

    def token_accuracy(self, answer: torch.Tensor, batch: Batch) -> float | None:
        """Return the share of the actions' tokens that are right; one that ends the answer is not counted."""
        said = answer.argmax(dim=-1) == batch.answer
        return float(said[:, : _require_actions(batch)[0].numel()].float().mean())


@objectives.named("l1")
class ActionL1:
    """OpenVLA-OFT's: mean absolute error of the normalised actions of the chunk (Kim et al. 2025)."""

    def __init__(self, network: Any, options: OptimizerConfig) -> None:
        pass

    def answer(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return predicted actions, (B, chunk_size, 7), normalised."""
        prediction: torch.Tensor = model.predict_normalised(
            batch.input_ids, batch.attention_mask, batch.pixel_values, batch.proprioception
        )
        return prediction

    def loss(self, answer: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the mean over all numbers."""
        return functional.l1_loss(answer.float(), _require_actions(batch))

    def predicted_actions(self, answer: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the answer itself."""
        return answer.float()

    def token_accuracy(self, answer: torch.Tensor, batch: Batch) -> float | None:
        """Return None: there are no tokens."""
        return None


def _require_actions(batch: Batch) -> torch.Tensor:
    if batch.actions is None:
        raise ValueError("This batch does not ask for actions.")
    return batch.actions
