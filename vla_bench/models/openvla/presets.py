"""Named sizes of the OpenVLA architecture."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from vla_bench.models.openvla.config import Decoding, OpenVLAConfig, TextConfig, TowerConfig

NANO_VOCABULARY = 1024
NANO_SLOT_TOKENS = 56


def openvla_nano_config(
    *,
    num_images: int = 2,
    proprioception_dim: int = 22,
    proprioception_fields: tuple[str, ...] = (),
    chunk_size: int = 4,
    image_size: int = 96,
    prompt_length: int = 16,
    decoding: Decoding = "parallel",
) -> OpenVLAConfig:
    """Return the size that trains and runs on two CPU cores: 1.3 million parameters, chunks decoded in parallel."""
    tower = TowerConfig(64, 3, 2, 128, patch_size=16)
    return OpenVLAConfig(
        image_size=image_size,
        featurizer=replace(tower, num_register_tokens=1),
        fused_featurizer=tower,
        text=TextConfig(
            vocab_size=NANO_VOCABULARY,
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=512,
            pad_token_id=0,
        ),
        num_images=num_images,
        proprioception_dim=proprioception_dim,
        proprioception_fields=proprioception_fields,
        chunk_size=chunk_size,
        decoding=decoding,
        pad_to_multiple_of=0,
        prompt_length=prompt_length,
        first_slot_token_id=NANO_VOCABULARY - 256 - NANO_SLOT_TOKENS,
    )


def openvla_7b_config() -> OpenVLAConfig:
    """Return the published size: `openvla/openvla-7b`."""
    return OpenVLAConfig(
        image_size=224,
        featurizer=TowerConfig(1024, 24, 16, 4096, patch_size=14, num_register_tokens=4),
        fused_featurizer=TowerConfig(1152, 27, 16, 4304, patch_size=14, activation="gelu"),
        text=TextConfig(32064, 4096, 11008, 32, 32, 32),
        empty_token_id=29871,
        vision_backbone_id="dinosiglip-vit-so-224px",
        llm_backbone_id="llama2-7b-pure",
    )


ARCHITECTURES: Mapping[str, Callable[[], OpenVLAConfig]] = {
    "openvla-7b": openvla_7b_config,
    "openvla-nano": openvla_nano_config,
}
"""Networks that can be built or planned for by name where no checkpoint of them is at hand."""
