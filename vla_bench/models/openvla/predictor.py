"""A loaded checkpoint as one module: the forward pass, and actions from images and instructions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vla_bench.core.errors import VlaBenchError
from vla_bench.models.normalization import statistics_for
from vla_bench.models.openvla.checkpoint import Checkpoint, load_checkpoint
from vla_bench.models.openvla.network import OpenVLAOutput
from vla_bench.models.openvla.processor import ImageError, validated_image
from vla_bench.models.openvla.quantization import Quantization


class OpenVLAPredictor(nn.Module):
    """A network with its processor, statistics and action tokens as one module."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.network = checkpoint.model
        self.checkpoint = checkpoint

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        device: torch.device = self.network.language_model.lm_head.weight.device
        return device

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
    ) -> OpenVLAOutput:
        """Return `logits` over the whole sequence, patches after the first token, and `loss` with labels."""
        return self.network(input_ids, attention_mask, pixel_values, labels)  # type: ignore[no-any-return]

    @torch.inference_mode()
    def predict_action(
        self, images: Any, instruction: str | Sequence[str], unnorm_key: str | None = None
    ) -> NDArray[np.float32]:
        """Return the action (7,) for one image and instruction, or actions (B, 7) for a batch of both.

        An image is a PIL image or a uint8 array (H, W, 3). One instruction with a list of images applies to all.
        Networks that predict chunks return (chunk, 7) and (B, chunk, 7). Raises `ImageError` for other images and
        `UnknownNameError` for an `unnorm_key` without statistics.
        """
        statistics = statistics_for(self.checkpoint.statistics, unnorm_key).action
        config = self.network.config
        if config.num_images != 1 or config.proprioception_dim:
            raise VlaBenchError(
                "predict_action supports networks with one image and no proprioception. Use a policy card instead."
            )
        single = not isinstance(images, list | tuple) and np.ndim(images) != 4
        rows = [images] if single else list(images)
        instructions = [instruction] * len(rows) if isinstance(instruction, str) else list(instruction)
        if len(instructions) != len(rows) or not rows:
            raise ImageError(
                f"There are {len(rows)} images and {len(instructions)} instructions. Expected equal numbers."
            )
        chunks = statistics.unnormalize(self._normalized(rows, instructions, len(statistics.q01)))
        actions: NDArray[np.float32] = chunks[:, 0] if config.chunk_size == 1 else chunks
        return actions[0] if single else actions

    def _normalized(self, images: Sequence[Any], instructions: Sequence[str], action_dim: int) -> NDArray[np.float64]:
        """Return greedily decoded actions (B, chunk, action_dim) in -1..1."""
        processor, config = self.checkpoint.processor, self.network.config
        pixels = torch.cat([processor.images(validated_image(image)[None, None]) for image in images])
        ids, mask = processor.tokenize_instructions(instructions)
        inputs = (ids.to(self.device), mask.to(self.device), pixels.to(self.device))
        if config.decoding == "parallel":
            logits = self.network.slot_logits(*inputs)
        else:
            logits = self.network.generate(*inputs, num_tokens=config.chunk_size * action_dim)
        tokens = logits.argmax(dim=-1).cpu().numpy()
        return self.checkpoint.action_tokenizer.decode(tokens).reshape(len(images), config.chunk_size, action_dim)


def load(
    path: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    quantise: Quantization | None = None,
) -> OpenVLAPredictor:
    """Return the checkpoint in the folder `path`, in evaluation mode; raise `CheckpointError` if it is invalid.

    `dtype` None keeps the data type of the file; `quantise` quantizes the decoder to 8 or 4 bits with bitsandbytes.
    """
    return OpenVLAPredictor(load_checkpoint(Path(path), dtype=dtype, device=device, quantise=quantise)).eval()
