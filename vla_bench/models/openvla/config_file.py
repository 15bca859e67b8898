"""Read and write the published `config.json` of OpenVLA networks, including defaults that published files leave out.

Names, sizes and defaults are those of `configuration_prismatic.py` of the original code
(github.com/openvla/openvla), of the timm models that it names, and of `LlamaConfig` in transformers 4.40.1.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from vla_bench.models.openvla.config import ModelConfigError, OpenVLAConfig, TextConfig, TowerConfig

EMPTY_TOKEN_ID = 29871  # token of a single space in the Llama tokenizer, at the end of training prompts
_PAD_TOKEN_ID, _PAD_TO_MULTIPLE_OF = 32000, 64
_DINOV2 = "vit_large_patch14_reg4_dinov2.lvd142m"
_LLAMA_2_7B = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
_SUPPORTED_VALUES = {  # required values of Llama fields that are constant here
    "model_type": "llama",
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "rope_scaling": None,
}
LLM_BACKBONES = {
    "llama2-7b-pure": "meta-llama/Llama-2-7b-hf",
    "llama2-13b-pure": "meta-llama/Llama-2-13b-hf",
    "llama2-7b-chat": "meta-llama/Llama-2-7b-chat-hf",
    "llama2-13b-chat": "meta-llama/Llama-2-13b-chat-hf",
    "vicuna-v15-7b": "lmsys/vicuna-7b-v1.5",
    "vicuna-v15-13b": "lmsys/vicuna-13b-v1.5",
}
_ARCHITECTURE_SPECIFIERS = {True: "fused-gelu-mlp", False: "gelu-mlp"}


@dataclass(frozen=True)
class VisionBackbone:
    """Towers of one published name."""

    timm_model_ids: tuple[str, ...]
    image_size: int  # pixels, square


VISION_BACKBONES = {
    "clip-vit-l": VisionBackbone(("vit_large_patch14_clip_224.openai",), 224),
    "clip-vit-l-336px": VisionBackbone(("vit_large_patch14_clip_336.openai",), 336),
    "dinov2-vit-l": VisionBackbone((_DINOV2,), 224),
    "siglip-vit-so400m": VisionBackbone(("vit_so400m_patch14_siglip_224",), 224),
    "siglip-vit-so400m-384px": VisionBackbone(("vit_so400m_patch14_siglip_384",), 384),
    "dinoclip-vit-l-336px": VisionBackbone((_DINOV2, "vit_large_patch14_clip_336.openai"), 336),
    "dinosiglip-vit-so-224px": VisionBackbone((_DINOV2, "vit_so400m_patch14_siglip_224"), 224),
    "dinosiglip-vit-so-384px": VisionBackbone((_DINOV2, "vit_so400m_patch14_siglip_384"), 384),
}


def with_published_defaults(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `config.json` with backbone names expanded to their settings.

    A configuration without `vision_backbone_id` is returned unchanged. Raises `ModelConfigError` for an unsupported
    backbone or setting.
    """
    identifier = content.get("vision_backbone_id")
    if identifier is None:
        return dict(content)
    backbone = _known(identifier, VISION_BACKBONES, "vision_backbone_id")
    language = content.get("llm_backbone_id", "llama2-7b-pure")
    _known(language, LLM_BACKBONES, "llm_backbone_id")
    _check_projector(content, len(backbone.timm_model_ids) == 2)
    towers = dict(zip(("featurizer", "fused_featurizer"), map(_tower, backbone.timm_model_ids), strict=False))
    return {
        "vision_config": towers,
        "image_sizes": [backbone.image_size] * len(backbone.timm_model_ids),
        "pad_to_multiple_of": _PAD_TO_MULTIPLE_OF,
        "empty_token_id": EMPTY_TOKEN_ID,
        "image_resize_strategy": "letterbox",
        **content,
        "llm_backbone_id": language,
        "text_config": _text(content),
    }


def published_fields(config: OpenVLAConfig) -> dict[str, Any]:
    """Return the fields from which the original code builds the network; none for unnamed towers."""
    if config.vision_backbone_id is None:
        return {}
    backbone = VISION_BACKBONES[config.vision_backbone_id]
    language = config.llm_backbone_id or "llama2-7b-pure"
    quick = [_tower(name)["activation"] == "quick_gelu" for name in backbone.timm_model_ids]
    return {
        "vision_backbone_id": config.vision_backbone_id,
        "timm_model_ids": list(backbone.timm_model_ids),
        "timm_override_act_layers": ["quick_gelu" if override else None for override in quick],
        "llm_backbone_id": language,
        "hf_llm_id": LLM_BACKBONES[language],
        "llm_max_length": config.text.max_position_embeddings,
        "output_projector_states": False,
    }


def _tower(timm_model_id: str) -> dict[str, Any]:
    """Return the shape of a tower. SigLIP has exact GELU in timm and its tanh approximation in transformers."""
    if "dinov2" in timm_model_id:
        return asdict(TowerConfig(1024, 24, 16, 4096, 14, 4, architecture="dinov2", activation="gelu"))
    if "siglip" in timm_model_id:
        return asdict(TowerConfig(1152, 27, 16, 4304, 14, architecture="siglip", activation="gelu"))
    return asdict(TowerConfig(1024, 24, 16, 4096, 14, architecture="clip", activation="quick_gelu"))


def _text(content: Mapping[str, Any]) -> dict[str, Any]:
    given = {"pad_token_id": content.get("pad_token_id", _PAD_TOKEN_ID), **(content.get("text_config") or {})}
    for field, only in _SUPPORTED_VALUES.items():
        if given.get(field, only) != only:
            raise ModelConfigError(f"text_config: {field} is {given[field]!r}. Only {only!r} is supported.")
    rope = given.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default":
        raise ModelConfigError(f"text_config: rope_type is {rope['rope_type']!r}. Only 'default' is supported.")
    theta = {"rope_theta": rope["rope_theta"]} if "rope_theta" in rope else {}
    text = {**_LLAMA_2_7B, **theta, **{key: value for key, value in given.items() if value is not None}}
    return {"num_key_value_heads": text["num_attention_heads"], **text}


def _check_projector(content: Mapping[str, Any], fused: bool) -> None:
    if content.get("use_fused_vision_backbone") not in (None, fused):
        raise ModelConfigError(
            f"use_fused_vision_backbone is {content['use_fused_vision_backbone']}, "
            f"but {content['vision_backbone_id']!r} has {'two towers' if fused else 'one tower'}."
        )
    wanted, given = _ARCHITECTURE_SPECIFIERS[fused], content.get("arch_specifier", "")
    if given and given.split("+")[-1] != wanted:
        raise ModelConfigError(
            f"arch_specifier is {given!r}, but {content['vision_backbone_id']!r} has 'no-align+{wanted}'."
        )


def _known(name: str, known: Mapping[str, Any], field: str) -> Any:
    if name not in known:
        raise ModelConfigError(f"{field} is {name!r}. Supported: {', '.join(known)}.")
    return known[name]


_PLAIN_KEYS = (
    "n_action_bins",
    "action_dim",
    "pad_to_multiple_of",
    "num_images",
    "proprioception_dim",
    "proprioception_fields",
    "chunk_size",
    "decoding",
    "prompt_length",
    "first_slot_token_id",
    "empty_token_id",
)
_PUBLISHED_KEYS = ("vision_backbone_id", "llm_backbone_id", "image_resize_strategy")


def config_to_json(config: OpenVLAConfig) -> dict[str, Any]:
    """Return the content of `config.json`, without `norm_stats`."""
    fused = config.fused_featurizer is not None
    return {
        "model_type": "openvla",
        "architectures": ["OpenVLAForActionPrediction"],
        "arch_specifier": "no-align+fused-gelu-mlp" if fused else "no-align+gelu-mlp",
        "image_resize_strategy": config.image_resize_strategy,
        "image_sizes": [config.image_size] * len(config.towers),
        "use_fused_vision_backbone": fused,
        "vision_config": {
            "featurizer": asdict(config.featurizer),
            **({"fused_featurizer": asdict(config.fused_featurizer)} if config.fused_featurizer is not None else {}),
        },
        "text_config": {"model_type": "llama", **asdict(config.text)},
        "pad_token_id": config.text.pad_token_id,
        **{key: getattr(config, key) for key in _PLAIN_KEYS},
        **published_fields(config),
    }


def config_from_json(content: Mapping[str, Any]) -> OpenVLAConfig:
    """Return the configuration in `config.json`; raise `ModelConfigError` with a missing or unknown field."""
    if content.get("model_type") != "openvla":
        raise ModelConfigError(f"model_type is {content.get('model_type')!r}. Expected 'openvla'.")
    try:
        content = with_published_defaults(content)
        towers = content["vision_config"]
        known = {field.name for field in fields(TextConfig)}
        second = towers.get("fused_featurizer")
        return OpenVLAConfig(
            image_size=content["image_sizes"][0],
            featurizer=TowerConfig(**towers["featurizer"]),
            fused_featurizer=None if second is None else TowerConfig(**second),
            text=TextConfig(**{key: value for key, value in content["text_config"].items() if key in known}),
            **{key: _frozen(content[key]) for key in (*_PLAIN_KEYS, *_PUBLISHED_KEYS) if key in content},
        )
    except KeyError as error:
        raise ModelConfigError(f"field {error} is missing.") from None
    except TypeError as error:
        raise ModelConfigError(str(error)) from None


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
