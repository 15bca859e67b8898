"""From camera images and instructions to the network's tensors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from vla_bench.core.types import ImageArray
from vla_bench.models.openvla.config import OpenVLAConfig
from vla_bench.models.openvla.preprocessing import ImageError, ImagePreparation
from vla_bench.models.openvla.prompt import action_prompt


@dataclass(frozen=True)
class Processor:
    """Prepare batches for one network."""

    config: OpenVLAConfig
    tokenizer: PreTrainedTokenizerFast
    preparation: ImagePreparation | None = None  # of images; None: what the towers were pretrained with

    @property
    def image_preparation(self) -> ImagePreparation:
        """How images are resized and normalised."""
        return self.preparation or ImagePreparation.of(self.config)

    def images(self, images: ImageArray | torch.Tensor) -> torch.Tensor:
        """Return `pixel_values` (B, N * towers * 3, H, W) of uint8 `images` (B, N, H, W, 3), N as the network takes."""
        batch = torch.from_numpy(np.ascontiguousarray(images)) if isinstance(images, np.ndarray) else images
        wanted = self.config.num_images
        if batch.dtype != torch.uint8 or batch.ndim != 5 or batch.shape[1] != wanted or batch.shape[-1] != 3:
            raise ImageError(
                f"Images are {batch.dtype} {tuple(batch.shape)}; expected uint8 (B, {wanted}, H, W, 3) of 0..255."
            )
        pixels = self.image_preparation.pixel_values(batch.flatten(0, 1))
        return pixels.reshape(batch.shape[0], -1, *pixels.shape[-2:])

    def actions_for(self, instructions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `input_ids`, `attention_mask` (B, L) of the prompts that ask for actions."""
        return self.prompts([action_prompt(instruction) for instruction in instructions])

    def prompts(self, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `input_ids`, `attention_mask` (B, L) of whole prompts, L at least `prompt_length`."""
        rows = [self._ids(prompt) for prompt in prompts]
        length = max(self.config.prompt_length, max(map(len, rows)))
        ids = torch.full((len(rows), length), self.config.text.pad_token_id, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        return ids, mask

    def _ids(self, prompt: str) -> list[int]:
        ids = list(self.tokenizer.encode(prompt))
        empty = self.config.empty_token_id
        return [*ids, empty] if empty is not None and ids[-1] != empty else ids
