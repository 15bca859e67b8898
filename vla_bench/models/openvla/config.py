"""The shape of an OpenVLA network, and its `config.json` in the published layout."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from transformers import Dinov2WithRegistersConfig, LlamaConfig, SiglipVisionConfig

from vla_bench.core.errors import VlaBenchError

Decoding = Literal["autoregressive", "parallel"]
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


class ModelConfigError(VlaBenchError):
    """A network shape that cannot be built."""


@dataclass(frozen=True)
class TowerConfig:
    """One vision transformer. Features are those of block `feature_layer`; the blocks after it are not built."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    patch_size: int
    num_register_tokens: int = 0  # DINOv2 only
    feature_layer: int = -2  # counted from the end, as in OpenVLA: -2 is the second-to-last block

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ModelConfigError(f"{self.num_attention_heads} heads do not divide hidden_size {self.hidden_size}.")
        if not -self.num_hidden_layers <= self.feature_layer < 0:
            raise ModelConfigError(
                f"There is no feature_layer {self.feature_layer} of {self.num_hidden_layers} blocks."
            )

    @property
    def built_layers(self) -> int:
        """How many blocks contribute to the features."""
        return self.num_hidden_layers + self.feature_layer + 1


@dataclass(frozen=True)
class TextConfig:
    """The Llama decoder."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    tie_word_embeddings: bool = False
    pad_token_id: int = 32000
    bos_token_id: int = 1
    eos_token_id: int = 2


@dataclass(frozen=True)
class OpenVLAConfig:
    """Everything that decides the network's tensors and the meaning of its tokens."""

    image_size: int  # pixels, square
    featurizer: TowerConfig  # DINOv2 with registers
    fused_featurizer: TowerConfig  # SigLIP
    text: TextConfig
    num_images: int = 1
    proprioception_dim: int = 0  # 0: the network is not told
    proprioception_fields: tuple[str, ...] = ()  # which fields those numbers are, in order, where that is recorded
    chunk_size: int = 1  # actions predicted at once
    decoding: Decoding = "autoregressive"
    action_dim: int = 7
    n_action_bins: int = 256
    pad_to_multiple_of: int = 64  # padding rows at the end of the embedding table, after the vocabulary
    prompt_length: int = 0  # tokens that prompts are padded to; 0: only to the longest of the batch
    first_slot_token_id: int | None = None  # parallel decoding: placeholder tokens of the action slots start here
    empty_token_id: int | None = None  # 29871 in Llama's vocabulary: OpenVLA's prompts end with it

    def __post_init__(self) -> None:
        for tower in (self.featurizer, self.fused_featurizer):
            if self.image_size % tower.patch_size:
                raise ModelConfigError(f"Patches of {tower.patch_size} pixels do not tile images of {self.image_size}.")
        if self.featurizer.intermediate_size % self.featurizer.hidden_size:
            raise ModelConfigError("DINOv2's intermediate_size must be a multiple of its hidden_size.")
        if self.patches(self.featurizer) != self.patches(self.fused_featurizer):
            raise ModelConfigError("The two towers see different numbers of patches and cannot be fused.")
        if self.decoding not in ("autoregressive", "parallel"):
            raise ModelConfigError(f"decoding is {self.decoding!r}; expected 'autoregressive' or 'parallel'.")
        if self.decoding == "parallel":
            self._check_slots()

    def _check_slots(self) -> None:
        first = self.first_slot_token_id
        if first is None or first + self.num_slots > self.vocab_end - self.n_action_bins:
            raise ModelConfigError(f"Parallel decoding needs {self.num_slots} slot tokens below the action bins.")

    def patches(self, tower: TowerConfig) -> int:
        """Return the patches of one image in `tower`."""
        return int((self.image_size // tower.patch_size) ** 2)

    @property
    def num_patches(self) -> int:
        """Patch tokens of all images together."""
        return self.num_images * self.patches(self.featurizer)

    @property
    def num_slots(self) -> int:
        """Action tokens of one chunk."""
        return self.chunk_size * self.action_dim

    @property
    def vocab_end(self) -> int:
        """One past the last token of the vocabulary: the action bins are the `n_action_bins` ids before it."""
        return self.text.vocab_size - self.pad_to_multiple_of

    def dinov2(self) -> Dinov2WithRegistersConfig:
        """Return transformers' configuration of the first tower, cut to the blocks that contribute."""
        tower = self.featurizer
        return Dinov2WithRegistersConfig(
            hidden_size=tower.hidden_size,
            num_hidden_layers=tower.built_layers,
            num_attention_heads=tower.num_attention_heads,
            mlp_ratio=tower.intermediate_size // tower.hidden_size,
            image_size=self.image_size,
            patch_size=tower.patch_size,
            num_register_tokens=tower.num_register_tokens,
        )

    def siglip(self) -> SiglipVisionConfig:
        """Return transformers' configuration of the second tower, cut to the blocks that contribute."""
        tower = self.fused_featurizer
        return SiglipVisionConfig(
            hidden_size=tower.hidden_size,
            intermediate_size=tower.intermediate_size,
            num_hidden_layers=tower.built_layers,
            num_attention_heads=tower.num_attention_heads,
            image_size=self.image_size,
            patch_size=tower.patch_size,
            vision_use_head=False,
        )

    def llama(self) -> LlamaConfig:
        """Return transformers' configuration of the decoder."""
        options = asdict(self.text)
        theta = options.pop("rope_theta")
        return LlamaConfig(**options, rope_parameters={"rope_type": "default", "rope_theta": theta})

    def to_json(self) -> dict[str, Any]:
        """Return the content of `config.json`, without `norm_stats`."""
        return {
            "model_type": "openvla",
            "architectures": ["OpenVLAForActionPrediction"],
            "arch_specifier": "no-align+fused-gelu-mlp",
            "image_resize_strategy": "resize-naive",
            "image_sizes": [self.image_size, self.image_size],
            "use_fused_vision_backbone": True,
            "vision_config": {"featurizer": asdict(self.featurizer), "fused_featurizer": asdict(self.fused_featurizer)},
            "text_config": {"model_type": "llama", **asdict(self.text)},
            "pad_token_id": self.text.pad_token_id,
            **{key: getattr(self, key) for key in _PLAIN_KEYS},
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "OpenVLAConfig":
        """Return the configuration in a `config.json`. Raises `ModelConfigError` naming a missing or unknown field."""
        if content.get("model_type") != "openvla":
            raise ModelConfigError(f"model_type is {content.get('model_type')!r}; expected 'openvla'.")
        try:
            towers = content["vision_config"]
            text = {key: value for key, value in content["text_config"].items() if key in _names(TextConfig)}
            return cls(
                image_size=content["image_sizes"][0],
                featurizer=TowerConfig(**towers["featurizer"]),
                fused_featurizer=TowerConfig(**towers["fused_featurizer"]),
                text=TextConfig(**text),
                **{key: _frozen(content[key]) for key in _PLAIN_KEYS if key in content},
            )
        except KeyError as error:
            raise ModelConfigError(f"field {error} is missing.") from None
        except TypeError as error:
            raise ModelConfigError(str(error)) from None


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _names(kind: type[TextConfig]) -> set[str]:
    return {field.name for field in fields(kind)}
