"""Training objectives: forward pass, loss, predicted actions and token accuracy for a batch."""

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
    """A training objective. The forward pass gives the answer; loss and metrics are computed from it."""

    def answer(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return the output of `model` for `batch`."""

    def loss(self, answer: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the mean loss over the samples of `batch`."""

    def predicted_actions(self, answer: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the normalized actions that the answer encodes, (B, chunk_size, 7)."""

    def token_accuracy(self, answer: torch.Tensor, batch: Batch) -> float | None:
        """Return the fraction of action tokens predicted correctly; None for objectives without tokens."""


ObjectiveFactory = Callable[[Any, OptimizerConfig], Objective]  # arguments: configuration of the network, options
objectives: Registry[ObjectiveFactory] = Registry("objective (the network's `action_head`)")


def objective_for(model: Any, options: OptimizerConfig) -> Objective:
    """Return the objective of the network's `action_head`; action tokens if it has none."""
    return objectives[getattr(model.config, "action_head", None) or _TOKENS](model.config, options)


@objectives.named(_TOKENS)
class TokenCrossEntropy:
    """The objective of OpenVLA: cross entropy of action tokens, with smoothed targets if `sigma_bins` is not 0."""

    def __init__(self, network: Any, options: OptimizerConfig) -> None:
        self._loss = SmoothedTokenLoss(network.vocab_end, network.n_action_bins, options.sigma_bins)
        tokens = ActionTokenizer(network.vocab_end, network.n_action_bins)
        self._decode = tokens.expected_action if network.decoding == "parallel" else tokens.most_likely_action

    def answer(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return the logits at the answer tokens, (B, tokens, V)."""
        return batch.logits(model)

    def loss(self, answer: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the mean over tokens; every sample has the same number of tokens."""
        return self._loss.to(answer.device)(answer, batch.answer)  # type: ignore[no-any-return]

    def predicted_actions(self, answer: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the actions that the decoding of the network derives from the logits."""
        wanted = _require_actions(batch)
        return self._decode(answer[:, : wanted[0].numel()]).reshape(wanted.shape)

    def token_accuracy(self, answer: torch.Tensor, batch: Batch) -> float | None:
        """Return the fraction of correct action tokens; the end token is not counted."""
        correct = answer.argmax(dim=-1) == batch.answer
        return float(correct[:, : _require_actions(batch)[0].numel()].float().mean())


@objectives.named("l1")
class ActionL1:
    """The objective of OpenVLA-OFT: mean absolute error of the normalized action chunk (Kim et al. 2025)."""

    def __init__(self, network: Any, options: OptimizerConfig) -> None:
        pass

    def answer(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return the predicted actions, (B, chunk_size, 7), normalized."""
        prediction: torch.Tensor = model.predict_normalized(
            batch.input_ids, batch.attention_mask, batch.pixel_values, batch.proprioception
        )
        return prediction

    def loss(self, answer: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the mean over all action components."""
        return functional.l1_loss(answer.float(), _require_actions(batch))

    def predicted_actions(self, answer: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the answer itself."""
        return answer.float()

    def token_accuracy(self, answer: torch.Tensor, batch: Batch) -> float | None:
        """Return None: there are no tokens."""
        return None


def _require_actions(batch: Batch) -> torch.Tensor:
    if batch.actions is None:
        raise ValueError("This batch has no target actions; expected a batch of demonstrations.")
    return batch.actions
