"""Which patches show what is asked for: a dense hint for the decoder's attention.

From the answer alone a small decoder takes thousands of steps to find out that the noun in the question and the patches
that resemble it belong together. Asked at every patch, after one of its middle layers, "is it here?", it knows within
two hundred; the later layers then read the answer off the marked patches. Only pretraining uses this.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn import functional

from vla_bench.models.openvla.network import OpenVLA
from vla_bench.training.grounding import Referred

_BIAS = -2.0


class Referring:
    """The loss at the patches after decoder layer `layer` (from 1), in the decoder's own words "yes" and "no"."""

    def __init__(self, model: OpenVLA, layer: int, yes: int, no: int) -> None:
        self._model, self._layer, self._yes, self._no = model, layer, yes, no
        self._hidden: torch.Tensor | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Keep the layer's output of the forward pass made within."""
        layer = self._model.language_model.model.layers[self._layer - 1]
        handle = layer.register_forward_hook(self._keep)
        try:
            yield
        finally:
            handle.remove()

    def loss(self, referred: Referred) -> torch.Tensor:
        """Return the mean loss over the patches of the rows referred to; zero where there are none."""
        assert self._hidden is not None, "run the model within `watched` first"
        hidden = self._model.language_model.model.norm(self._hidden)
        head = self._model.language_model.lm_head.weight
        patches = hidden[referred.rows, 1 : 1 + self._model.config.num_patches]  # the first token comes before them
        if not len(referred.rows):
            nothing: torch.Tensor = patches.sum() * 0.0
            return nothing
        logits = patches @ (head[self._yes] - head[self._no]) + _BIAS
        loss: torch.Tensor = functional.binary_cross_entropy_with_logits(logits, referred.shown)
        return loss

    def _keep(self, module: torch.nn.Module, inputs: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        self._hidden = output if isinstance(output, torch.Tensor) else output[0]
