"""From camera images and instructions to the network's tensors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from vla_bench.core.types import ImageArray
from vla_bench.models.openvla.config import OpenVLAConfig
from vla_bench.models.openvla.prompt import action_prompt

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # DINOv2's normalisation
SIGLIP_MEAN, SIGLIP_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Processor:
    """Prepare batches for one network."""

    config: OpenVLAConfig
    tokenizer: PreTrainedTokenizerFast

    def images(self, images: ImageArray | torch.Tensor) -> torch.Tensor:
        """Return `pixel_values` (B, N * 6, H, W) of uint8 `images` (B, N, H, W, 3), N as the network was built for."""
        batch = torch.from_numpy(np.ascontiguousarray(images)) if isinstance(images, np.ndarray) else images
        if batch.dtype != torch.uint8 or batch.ndim != 5 or batch.shape[1] != self.config.num_images:
            raise ValueError(
                f"Images are {batch.dtype} {tuple(batch.shape)}; expected uint8 (B, {self.config.num_images}, H, W, 3)."
            )
        pixels = batch.flatten(0, 1).permute(0, 3, 1, 2).contiguous().float()
        size = self.config.image_size
        if pixels.shape[-2:] != (size, size):
            pixels = functional.interpolate(pixels, size=(size, size), mode="bicubic", antialias=True).clamp(0, 255)
        normalised = torch.cat([pixels, pixels], dim=1)
        normalised.mul_(_SCALE.to(pixels.device)).add_(_SHIFT.to(pixels.device))
        return normalised.reshape(batch.shape[0], -1, size, size)

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


def _scale_and_shift() -> tuple[torch.Tensor, torch.Tensor]:
    mean = torch.tensor([*IMAGENET_MEAN, *SIGLIP_MEAN])[:, None, None]
    std = torch.tensor([*IMAGENET_STD, *SIGLIP_STD])[:, None, None]
    return 1.0 / (255.0 * std), -mean / std


_SCALE, _SHIFT = _scale_and_shift()
