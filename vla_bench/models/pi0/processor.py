"""From camera images, instructions and state to the tensors of transformers' pi0."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import PI0Config, PreTrainedTokenizerBase

from vla_bench.core.types import FloatArray, ImageArray


@dataclass(frozen=True)
class Pi0Processor:
    """Prepare batches for one network, as transformers' `PI0Processor` does, without its need of torchvision.

    The prompt is the image tokens, the first token, the instruction and a line break. A camera that the network knows
    and the robot lacks is left out, which is the same as an empty image that nothing attends to.
    """

    config: PI0Config
    tokenizer: PreTrainedTokenizerBase

    @property
    def image_size(self) -> int:
        """Side of the images [pixels]. They are rendered at this size: resizing is done differently everywhere."""
        return int(self._vlm.vision_config.image_size)

    @property
    def tokens_per_image(self) -> int:
        """Decoder tokens of one image."""
        return int((self.image_size // self._vlm.vision_config.patch_size) ** 2)

    def images(self, images: ImageArray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `pixel_values` (B, N, 3, H, W) in -1..1 and `pixel_attention_mask` (B, N) of uint8 (B, N, H, W, 3)."""
        expected = (self.image_size, self.image_size, 3)
        if images.dtype != np.uint8 or images.ndim != 5 or images.shape[2:] != expected:
            raise ValueError(f"Images are {images.dtype} {images.shape}; expected uint8 (B, N, *{expected}).")
        pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 1, 4, 2, 3).float()
        return pixels / 127.5 - 1.0, torch.ones(images.shape[:2], dtype=torch.bool)

    def prompts(self, instructions: Sequence[str], num_images: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `input_ids` and `attention_mask` (B, L), padded on the right."""
        rows = [self._ids(instruction, num_images) for instruction in instructions]
        ids = torch.full((len(rows), max(map(len, rows))), int(self.tokenizer.pad_token_id or 0))
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        return ids, mask

    def state(self, normalised: FloatArray) -> torch.Tensor:
        """Return the normalised state (B, S), padded with zeros to (B, max_state_dim)."""
        return functional.pad(torch.from_numpy(normalised), (0, self.config.max_state_dim - normalised.shape[-1]))

    @property
    def _vlm(self) -> Any:
        return self.config.vlm_config

    def _ids(self, instruction: str, num_images: int) -> list[int]:
        text = instruction.strip().replace("_", " ").replace("\n", " ")  # as openpi cleans it
        images = [int(self._vlm.image_token_id)] * (self.tokens_per_image * num_images)
        return [
            *images,
            int(self.tokenizer.bos_token_id),
            *self.tokenizer.encode(f"{text}\n", add_special_tokens=False),
        ]
