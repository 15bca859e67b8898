"""Prompts that are tokenised once: an instruction stays the same for all steps of an episode."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch takes seconds to load
    import torch

Prompts = tuple["torch.Tensor", "torch.Tensor"]  # ids and mask, (B, L) each
_BATCHES = 256


class PromptBatches:
    """The prompts of the latest batches of instructions, on the network's device. They are not to be written to."""

    def __init__(
        self, make: Callable[[Sequence[str]], Prompts], device: "torch.device | str", most: int = _BATCHES
    ) -> None:
        self._make, self._device, self._most = make, device, most
        self._batches: OrderedDict[tuple[str, ...], Prompts] = OrderedDict()

    def of(self, instructions: Sequence[str]) -> Prompts:
        """Return the prompts of a batch."""
        key = tuple(instructions)
        if key not in self._batches:
            ids, mask = self._make(key)
            self._batches[key] = ids.to(self._device), mask.to(self._device)
        self._batches.move_to_end(key)
        if len(self._batches) > self._most:
            self._batches.popitem(last=False)
        return self._batches[key]
