"""The `config.json` of an OpenVLA network in the published layout."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from vla_bench.models.openvla.config import ModelConfigError, OpenVLAConfig, TextConfig, TowerConfig
from vla_bench.models.openvla.published import published_fields, with_published_defaults

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
    """Return the configuration in a `config.json`. Raises `ModelConfigError` naming a missing or unknown field."""
    if content.get("model_type") != "openvla":
        raise ModelConfigError(f"model_type is {content.get('model_type')!r}; expected 'openvla'.")
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
