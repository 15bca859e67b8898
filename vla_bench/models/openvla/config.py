"""The shape of an OpenVLA network, and its `config.json` in the published layout."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from transformers import LlamaConfig

from vla_bench.core.errors import VlaBenchError

if TYPE_CHECKING:
    from vla_bench.models.openvla.network import OpenVLA

Decoding = Literal["autoregressive", "parallel"]
TowerArchitecture = Literal["dinov2", "siglip", "clip"]
DEFAULT_ACTIVATIONS: Mapping[str, str] = {"dinov2": "gelu", "siglip": "gelu_pytorch_tanh", "clip": "quick_gelu"}
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
    architecture: TowerArchitecture | None = None  # None: DINOv2 as the first tower, SigLIP as the second
    activation: str | None = None  # None: that of transformers' module; timm's SigLIP has "gelu", published nets too

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

    def placed(self, default: TowerArchitecture) -> "TowerConfig":
        """Return the same tower with nothing left open."""
        architecture = self.architecture or default
        if architecture not in DEFAULT_ACTIVATIONS:
            raise ModelConfigError(
                f"A tower's architecture is {architecture!r}; expected {', '.join(DEFAULT_ACTIVATIONS)}."
            )
        activation = self.activation or DEFAULT_ACTIVATIONS[architecture]
        return replace(self, architecture=architecture, activation=activation)


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
    featurizer: TowerConfig  # DINOv2 with registers, where nothing else is said
    fused_featurizer: TowerConfig | None  # SigLIP, where nothing else is said; None: there is one tower only
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
    vision_backbone_id: str | None = None  # the published name of the towers, where they have one
    llm_backbone_id: str | None = None  # the published name of the decoder, where it has one
    image_resize_strategy: str = "resize-naive"

    def __post_init__(self) -> None:
        object.__setattr__(self, "featurizer", self.featurizer.placed("dinov2"))
        if self.fused_featurizer is not None:
            object.__setattr__(self, "fused_featurizer", self.fused_featurizer.placed("siglip"))
        for tower in self.towers:
            self._check_tower(tower)
        if len({self.patches(tower) for tower in self.towers}) > 1:
            raise ModelConfigError("The two towers see different numbers of patches and cannot be fused.")
        if self.decoding not in ("autoregressive", "parallel"):
            raise ModelConfigError(f"decoding is {self.decoding!r}; expected 'autoregressive' or 'parallel'.")
        if self.decoding == "parallel":
            self._check_slots()

    def _check_tower(self, tower: TowerConfig) -> None:
        if self.image_size % tower.patch_size and self.vision_backbone_id is None:  # published ones of 384 leave a rim
            raise ModelConfigError(f"Patches of {tower.patch_size} pixels do not tile images of {self.image_size}.")
        if tower.architecture == "dinov2" and tower.intermediate_size % tower.hidden_size:
            raise ModelConfigError("DINOv2's intermediate_size must be a multiple of its hidden_size.")

    def _check_slots(self) -> None:
        first = self.first_slot_token_id
        if first is None or first + self.num_slots > self.vocab_end - self.n_action_bins:
            raise ModelConfigError(f"Parallel decoding needs {self.num_slots} slot tokens below the action bins.")

    @property
    def towers(self) -> tuple[TowerConfig, ...]:
        """The one tower, or the two whose features are fused."""
        return (self.featurizer,) if self.fused_featurizer is None else (self.featurizer, self.fused_featurizer)

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
    def new_parts(self) -> tuple[str, ...]:
        """Parts that are trained whole beside an adapter: none, a base has them all."""
        return ()

    def build(self) -> "OpenVLA":
        """Return a network of this shape."""
        from vla_bench.models.openvla.network import OpenVLA  # which builds on this module

        return OpenVLA(self)

    @property
    def vocab_end(self) -> int:
        """One past the last token of the vocabulary: the action bins are the `n_action_bins` ids before it."""
        return self.text.vocab_size - self.pad_to_multiple_of

    def llama(self) -> LlamaConfig:
        """Return transformers' configuration of the decoder."""
        options = asdict(self.text)
        theta = options.pop("rope_theta")
        return LlamaConfig(**options, rope_parameters={"rope_type": "default", "rope_theta": theta})

    def to_json(self) -> dict[str, Any]:
        """Return the content of `config.json`, without `norm_stats`."""
        from vla_bench.models.openvla.published import published_fields  # which builds on this module

        fused = self.fused_featurizer is not None
        return {
            "model_type": "openvla",
            "architectures": ["OpenVLAForActionPrediction"],
            "arch_specifier": "no-align+fused-gelu-mlp" if fused else "no-align+gelu-mlp",
            "image_resize_strategy": self.image_resize_strategy,
            "image_sizes": [self.image_size] * len(self.towers),
            "use_fused_vision_backbone": fused,
            "vision_config": {
                "featurizer": asdict(self.featurizer),
                **({"fused_featurizer": asdict(self.fused_featurizer)} if self.fused_featurizer is not None else {}),
            },
            "text_config": {"model_type": "llama", **asdict(self.text)},
            "pad_token_id": self.text.pad_token_id,
            **{key: getattr(self, key) for key in _PLAIN_KEYS},
            **published_fields(self),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "OpenVLAConfig":
        """Return the configuration in a `config.json`. Raises `ModelConfigError` naming a missing or unknown field."""
        from vla_bench.models.openvla.published import with_published_defaults  # which builds on this module

        if content.get("model_type") != "openvla":
            raise ModelConfigError(f"model_type is {content.get('model_type')!r}; expected 'openvla'.")
        try:
            content = with_published_defaults(content)
            towers = content["vision_config"]
            text = {key: value for key, value in content["text_config"].items() if key in _names(TextConfig)}
            second = towers.get("fused_featurizer")
            return cls(
                image_size=content["image_sizes"][0],
                featurizer=TowerConfig(**towers["featurizer"]),
                fused_featurizer=None if second is None else TowerConfig(**second),
                text=TextConfig(**text),
                **{key: _frozen(content[key]) for key in (*_PLAIN_KEYS, *_PUBLISHED_KEYS) if key in content},
            )
        except KeyError as error:
            raise ModelConfigError(f"field {error} is missing.") from None
        except TypeError as error:
            raise ModelConfigError(str(error)) from None


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _names(kind: type[TextConfig]) -> set[str]:
    return {field.name for field in fields(kind)}
