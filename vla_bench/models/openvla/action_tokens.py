"""Actions as tokens: 256 uniform bins over [-1, 1], the last ids of the vocabulary, and the loss over these bins."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from vla_bench.core.types import FloatArray
from vla_bench.models.openvla.network import IGNORED_LABEL


class ActionTokenizer:
    """Conversion of normalized actions to token ids and back. The token of an action is `vocab_end -
    digitize(action)`.
    """

    def __init__(self, vocab_end: int, n_action_bins: int = 256) -> None:
        self.vocab_end = vocab_end
        self.n_action_bins = n_action_bins
        self.bins: NDArray[np.float64] = np.linspace(-1.0, 1.0, n_action_bins)
        self.bin_centers: NDArray[np.float64] = (self.bins[:-1] + self.bins[1:]) / 2.0  # one fewer than bins
        values = self.decode(np.arange(self.first_token, vocab_end))
        self._values = torch.from_numpy(values).float()

    @property
    def first_token(self) -> int:
        """The lowest action token: actions of exactly 1."""
        return self.vocab_end - self.n_action_bins

    def encode(self, actions: FloatArray) -> NDArray[np.int64]:
        """Return the token ids of normalized actions of any shape; values outside [-1, 1] are clipped."""
        clipped = np.clip(np.asarray(actions, dtype=np.float64), -1.0, 1.0)
        return (self.vocab_end - np.digitize(clipped, self.bins)).astype(np.int64)

    def decode(self, tokens: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return the bin centers of token ids; ids outside the action tokens map to the nearest bin."""
        index = np.clip(self.vocab_end - np.asarray(tokens) - 1, 0, len(self.bin_centers) - 1)
        centers: NDArray[np.float64] = self.bin_centers[index]
        return centers

    def most_likely_action(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the action of the most likely of all tokens, (..., V) -> (...): OpenVLA's greedy decoding."""
        tokens = logits.argmax(dim=-1).cpu().numpy()
        return torch.from_numpy(self.decode(tokens)).float()

    def expected_action(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the mean action under the softmax over action tokens only, (..., V) -> (...)."""
        probability = logits[..., self.first_token : self.vocab_end].float().softmax(dim=-1)
        return probability @ self._values.to(logits.device)


class SmoothedTokenLoss(nn.Module):
    """Cross entropy with Gaussian targets over the action bins (HL-Gauss, Farebrother et al. 2024).

    Labels that are not action bins (words) have plain cross entropy. `sigma_bins` of 0 disables smoothing.
    """

    soft_targets: torch.Tensor

    def __init__(self, vocab_end: int, n_action_bins: int = 256, sigma_bins: float = 4.0) -> None:
        super().__init__()
        self.first_bin = vocab_end - n_action_bins
        self.n_action_bins = n_action_bins
        self.register_buffer("soft_targets", _gaussian_bins(n_action_bins, sigma_bins), persistent=False)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Return the mean over labels that are not -100; `logits` (B, slots, V), `labels` and `weights` (B, slots)."""
        per_slot = self.per_slot(logits, labels)
        weight = (labels != IGNORED_LABEL).to(per_slot.dtype)
        weight = weight if weights is None else weight * weights
        return (per_slot * weight).sum() / weight.sum().clamp(min=1e-8)

    def per_slot(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of each slot, (B, slots), 0 where the label is -100."""
        log_probability = functional.log_softmax(logits.float(), dim=-1)
        wanted = labels.clamp(min=0)
        hard = -log_probability.gather(-1, wanted[..., None])[..., 0]
        bins = labels - self.first_bin
        targets = self.soft_targets[bins.clamp(0, self.n_action_bins - 1)]
        last_bin = self.first_bin + self.n_action_bins
        soft = -(targets * log_probability[..., self.first_bin : last_bin]).sum(dim=-1)
        is_bin = (bins >= 0) & (bins < self.n_action_bins)
        return torch.where(is_bin, soft, hard).masked_fill(labels == IGNORED_LABEL, 0.0)


def _gaussian_bins(n_action_bins: int, sigma_bins: float) -> torch.Tensor:
    if sigma_bins == 0:
        return torch.eye(n_action_bins)
    index = torch.arange(n_action_bins, dtype=torch.float64)
    offset = index[None, :] - index[:, None]
    scale = sigma_bins * 2**0.5
    mass = torch.erf((offset + 0.5) / scale) - torch.erf((offset - 0.5) / scale)
    return (mass / mass.sum(dim=1, keepdim=True)).float()
