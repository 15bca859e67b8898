"""Actions as tokens: 256 uniform bins over [-1, 1], the last ids of the vocabulary, as in OpenVLA."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vla_bench.core.types import FloatArray


class ActionTokenizer:
    """Translate normalised actions to token ids and back. The token of an action is `vocab_end - digitize(action)`."""

    def __init__(self, vocab_end: int, n_action_bins: int = 256) -> None:
        self.vocab_end = vocab_end
        self.n_action_bins = n_action_bins
        self.bins: NDArray[np.float64] = np.linspace(-1.0, 1.0, n_action_bins)
        self.bin_centres: NDArray[np.float64] = (self.bins[:-1] + self.bins[1:]) / 2.0  # one fewer than bins
        values = self.decode(np.arange(self.first_token, vocab_end))
        self._values = torch.from_numpy(values).float()

    @property
    def first_token(self) -> int:
        """The lowest action token: actions of exactly 1."""
        return self.vocab_end - self.n_action_bins

    def encode(self, actions: FloatArray) -> NDArray[np.int64]:
        """Return the token ids of normalised actions of any shape; values outside [-1, 1] are clipped."""
        clipped = np.clip(np.asarray(actions, dtype=np.float64), -1.0, 1.0)
        return (self.vocab_end - np.digitize(clipped, self.bins)).astype(np.int64)

    def decode(self, tokens: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return the bin centres of token ids; ids that are no action tokens fall to the nearest bin."""
        index = np.clip(self.vocab_end - np.asarray(tokens) - 1, 0, len(self.bin_centres) - 1)
        centres: NDArray[np.float64] = self.bin_centres[index]
        return centres

    def most_likely_action(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the action of the likeliest of all tokens, (..., V) -> (...): OpenVLA's greedy decoding."""
        tokens = logits.argmax(dim=-1).cpu().numpy()
        return torch.from_numpy(self.decode(tokens)).float()

    def expected_action(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the mean action under the softmax over the action tokens alone, (..., V) -> (...)."""
        probability = logits[..., self.first_token : self.vocab_end].float().softmax(dim=-1)
        return probability @ self._values.to(logits.device)
