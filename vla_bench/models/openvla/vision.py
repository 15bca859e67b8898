"""The fused vision backbone: DINOv2 with registers and SigLIP, patch features side by side on the channel."""

import torch
from torch import nn
from transformers import Dinov2WithRegistersModel, SiglipVisionModel

from vla_bench.models.openvla.config import OpenVLAConfig

CHANNELS_PER_IMAGE = 6  # three normalised for DINOv2, then the same three normalised for SigLIP


class FusedVisionBackbone(nn.Module):
    """Two towers over each image. Class, register tokens and final norms are left out, as in OpenVLA."""

    def __init__(self, config: OpenVLAConfig) -> None:
        super().__init__()
        self.num_images = config.num_images
        self.output_dim = config.featurizer.hidden_size + config.fused_featurizer.hidden_size
        self.featurizer = Dinov2WithRegistersModel(config.dinov2())
        self.fused_featurizer = SiglipVisionModel(config.siglip())
        self.featurizer.layernorm = nn.Identity()  # type: ignore[assignment]  # features are taken before the final norm
        self.fused_featurizer.post_layernorm = nn.Identity()  # type: ignore[assignment]
        del self.featurizer.embeddings.mask_token  # only pretraining of DINOv2 itself uses it
        self._prefix = 1 + config.featurizer.num_register_tokens

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return features (B, images * patches, output_dim) of `pixel_values` (B, images * 6, H, W)."""
        batch, channels, height, width = pixel_values.shape
        if channels != self.num_images * CHANNELS_PER_IMAGE:
            raise ValueError(
                f"{channels} channels; expected {CHANNELS_PER_IMAGE} for each of {self.num_images} images."
            )
        images = pixel_values.reshape(batch * self.num_images, CHANNELS_PER_IMAGE, height, width)
        first = _features(self.featurizer, images[:, :3])[:, self._prefix :]
        second = _features(self.fused_featurizer, images[:, 3:])
        return torch.cat([first, second], dim=-1).reshape(batch, -1, self.output_dim)


def _features(tower: Dinov2WithRegistersModel | SiglipVisionModel, images: torch.Tensor) -> torch.Tensor:
    hidden: torch.Tensor = tower.embeddings(images)
    layers = tower.encoder.layer if isinstance(tower, Dinov2WithRegistersModel) else tower.encoder.layers
    for layer in layers:
        hidden = layer(hidden, None)
    return hidden
