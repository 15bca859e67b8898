"""Vision towers (DINOv2 with registers, SigLIP, CLIP), one or two of them fused on the channel dimension.

Published checkpoints were made with timm. The modules here are those of transformers, set up to give the same
features: taken from a block before the last, without the final norm and without class and register tokens.
"""

from typing import Any

import torch
from torch import nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from vla_bench.models.openvla.config import ModelConfigError, OpenVLAConfig, TowerConfig

Tower = Dinov2WithRegistersModel | SiglipVisionModel | CLIPVisionModel
CHANNELS_PER_TOWER = 3  # every tower gets the same three channels in its own normalization


class FusedVisionBackbone(nn.Module):
    """Towers for each image: `featurizer` and, with two towers, `fused_featurizer`."""

    def __init__(self, config: OpenVLAConfig) -> None:
        super().__init__()
        self.num_images = config.num_images
        self.output_dim = sum(tower.hidden_size for tower in config.towers)
        self.featurizer = build_tower(config.featurizer, config.image_size)
        if config.fused_featurizer is not None:
            self.fused_featurizer = build_tower(config.fused_featurizer, config.image_size)
        self._prefixes = [_prefix_tokens(tower) for tower in config.towers]

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return features (B, images * patches, output_dim) of `pixel_values` (B, images * towers * 3, H, W)."""
        batch, channels, height, width = pixel_values.shape
        per_image = CHANNELS_PER_TOWER * len(self._prefixes)
        if channels != self.num_images * per_image:
            raise ValueError(
                f"pixel_values have {channels} channels. Expected {per_image} for each of {self.num_images} images."
            )
        images = pixel_values.reshape(batch * self.num_images, per_image, height, width)
        towers = [self.featurizer] if len(self._prefixes) == 1 else [self.featurizer, self.fused_featurizer]
        features = [
            _features(tower, part)[:, prefix:]
            for tower, part, prefix in zip(towers, images.split(CHANNELS_PER_TOWER, dim=1), self._prefixes, strict=True)
        ]
        return torch.cat(features, dim=-1).reshape(batch, -1, self.output_dim)


def build_tower(tower: TowerConfig, image_size: int) -> Tower:
    """Return the module of transformers, truncated to the used blocks, without final norm and pretraining parts."""
    if tower.architecture == "dinov2":
        return _dinov2(tower, image_size)
    common: dict[str, Any] = {
        "hidden_size": tower.hidden_size,
        "intermediate_size": tower.intermediate_size,
        "num_hidden_layers": tower.built_layers,
        "num_attention_heads": tower.num_attention_heads,
        "image_size": image_size,
        "patch_size": tower.patch_size,
        "hidden_act": tower.activation,
    }
    if tower.architecture == "siglip":
        siglip = SiglipVisionModel(SiglipVisionConfig(**common, vision_use_head=False))
        siglip.post_layernorm = nn.Identity()  # type: ignore[assignment]  # features are those before the final norm
        return siglip
    if tower.architecture == "clip":
        clip = CLIPVisionModel(CLIPVisionConfig(**common))
        clip.post_layernorm = nn.Identity()  # type: ignore[assignment]
        return clip
    raise ModelConfigError(f"The architecture {tower.architecture!r} of a tower is unknown.")


def _dinov2(tower: TowerConfig, image_size: int) -> Dinov2WithRegistersModel:
    model = Dinov2WithRegistersModel(
        Dinov2WithRegistersConfig(
            hidden_size=tower.hidden_size,
            num_hidden_layers=tower.built_layers,
            num_attention_heads=tower.num_attention_heads,
            mlp_ratio=tower.intermediate_size // tower.hidden_size,
            image_size=image_size,
            patch_size=tower.patch_size,
            num_register_tokens=tower.num_register_tokens,
            hidden_act=str(tower.activation),
        )
    )
    model.layernorm = nn.Identity()  # type: ignore[assignment]
    del model.embeddings.mask_token  # only used in the pretraining of DINOv2
    return model


def _prefix_tokens(tower: TowerConfig) -> int:
    """Return the number of tokens before the patches."""
    return 0 if tower.architecture == "siglip" else 1 + tower.num_register_tokens


def _features(tower: Tower, images: torch.Tensor) -> torch.Tensor:
    hidden: torch.Tensor = tower.embeddings(images)
    if isinstance(tower, CLIPVisionModel):
        hidden = tower.pre_layrnorm(hidden)
    layers = tower.encoder.layer if isinstance(tower, Dinov2WithRegistersModel) else tower.encoder.layers
    for layer in layers:
        hidden = layer(hidden, None)
    return hidden
