"""Patches that speak the decoder's language: each is trained to resemble the name of what it shows.

What SigLIP brings to OpenVLA from its image-text pretraining, at the size of a patch: a pairwise sigmoid loss (Zhai et
al., "Sigmoid Loss for Language Image Pre-Training", 2023) between projected patch features and the mean token embedding
of each noun. The decoder is not run, so this costs a tenth of a training step.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from vla_bench.core.types import ImageArray
from vla_bench.models.openvla.network import OpenVLA
from vla_bench.models.openvla.processor import Processor
from vla_bench.training.segments import shown_in_patches

_SCALE, _BIAS = 2.0, -3.0


@dataclass(frozen=True, eq=False)
class AlignmentFrames:
    """Images with the item that each pixel shows."""

    images: ImageArray  # (N, cameras, H, W, 3)
    segments: NDArray[np.uint8]  # (N, cameras, H, W): 0 none, k the k-th noun from 1
    nouns: tuple[str, ...]


class Alignment:
    """The loss between patches and nouns on random frames."""

    def __init__(self, frames: AlignmentFrames, processor: Processor) -> None:
        self._frames, self._processor = frames, processor
        tokens = [processor.tokenizer.encode(f" {noun}", add_special_tokens=False) for noun in frames.nouns]
        self._noun_tokens = [torch.tensor(ids) for ids in tokens]

    def loss(self, model: OpenVLA, rows: int, generator: np.random.Generator) -> torch.Tensor:
        """Return the mean loss over all pairs of a patch and a noun, of `rows` frames."""
        frames = generator.integers(0, len(self._frames.images), rows)
        pixel_values = self._processor.images(self._frames.images[frames])
        features = model.projector(model.vision_backbone(pixel_values))  # (rows, patches of all cameras, width)
        embed = model.language_model.model.embed_tokens
        words = torch.stack([embed(ids).mean(dim=0) for ids in self._noun_tokens])
        logits = features @ words.T * (_SCALE / features.shape[-1] ** 0.5) + _BIAS
        patch_size = self._processor.config.featurizer.patch_size
        shown = shown_in_patches(self._frames.segments[frames], patch_size, len(self._frames.nouns))
        wanted = torch.from_numpy(shown)
        loss: torch.Tensor = functional.binary_cross_entropy_with_logits(logits, wanted)
        return loss * len(self._frames.nouns)
