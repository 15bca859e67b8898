"""Configuration of OpenVLA networks, and the named sizes openvla-7b and openvla-nano."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal

from transformers import LlamaConfig

from vla_bench.core.errors import VlaBenchError

Decoding = Literal["autoregressive", "parallel"]
TowerArchitecture = Literal["dinov2", "siglip", "clip"]
DEFAULT_ACTIVATIONS: Mapping[str, str] = {"dinov2": "gelu", "siglip": "gelu_pytorch_tanh", "clip": "quick_gelu"}


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
    feature_layer: int = -2  # index from the end, as in OpenVLA: -2 is the second-to-last block
    architecture: TowerArchitecture | None = None  # None: DINOv2 as the first tower, SigLIP as the second
    # None: that of the transformers module; SigLIP of timm and published networks have "gelu"
    activation: str | None = None

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ModelConfigError(
                f"hidden_size is {self.hidden_size}. Expected a multiple of {self.num_attention_heads} heads."
            )
        if not -self.num_hidden_layers <= self.feature_layer < 0:
            raise ModelConfigError(
                f"feature_layer is {self.feature_layer}. Expected a layer of {self.num_hidden_layers} blocks."
            )

    @property
    def built_layers(self) -> int:
        """Number of blocks that contribute to the features."""
        return self.num_hidden_layers + self.feature_layer + 1

    def placed(self, default: TowerArchitecture) -> "TowerConfig":
        """Return the tower with all defaults resolved."""
        architecture = self.architecture or default
        if architecture not in DEFAULT_ACTIVATIONS:
            raise ModelConfigError(
                f"The architecture of a tower is {architecture!r}. Expected {', '.join(DEFAULT_ACTIVATIONS)}."
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
    """Configuration of the tensors of a network and of its tokens."""

    image_size: int  # pixels, square
    featurizer: TowerConfig  # DINOv2 with registers by default
    fused_featurizer: TowerConfig | None  # SigLIP by default; None: only one tower
    text: TextConfig
    num_images: int = 1
    proprioception_dim: int = 0  # 0: no proprioception input
    proprioception_fields: tuple[str, ...] = ()  # fields of the proprioception input in order, if recorded
    chunk_size: int = 1  # actions per prediction
    decoding: Decoding = "autoregressive"
    action_dim: int = 7
    n_action_bins: int = 256
    pad_to_multiple_of: int = 64  # padding rows at the end of the embedding table, after the vocabulary
    prompt_length: int = 0  # padded prompt length; 0: the longest of the batch
    first_slot_token_id: int | None = None  # parallel decoding: placeholder tokens of the action slots start here
    empty_token_id: int | None = None  # 29871 in the Llama vocabulary, the last token of OpenVLA prompts
    vision_backbone_id: str | None = None  # published name of the towers, if any
    llm_backbone_id: str | None = None  # published name of the decoder, if any
    image_resize_strategy: str = "resize-naive"

    def __post_init__(self) -> None:
        object.__setattr__(self, "featurizer", self.featurizer.placed("dinov2"))
        if self.fused_featurizer is not None:
            object.__setattr__(self, "fused_featurizer", self.fused_featurizer.placed("siglip"))
        for tower in self.towers:
            self._check_tower(tower)
        if len({self.patches(tower) for tower in self.towers}) > 1:
            raise ModelConfigError("The two towers have different numbers of patches. Expected equal numbers.")
        if self.decoding not in ("autoregressive", "parallel"):
            raise ModelConfigError(f"decoding is {self.decoding!r}. Expected 'autoregressive' or 'parallel'.")
        if self.decoding == "parallel":
            self._check_slots()

    def _check_tower(self, tower: TowerConfig) -> None:
        # published networks with 384 pixels leave a border
        if self.image_size % tower.patch_size and self.vision_backbone_id is None:
            raise ModelConfigError(
                f"image_size is {self.image_size}. Expected a multiple of the patch size {tower.patch_size}."
            )
        if tower.architecture == "dinov2" and tower.intermediate_size % tower.hidden_size:
            raise ModelConfigError("DINOv2's intermediate_size must be a multiple of its hidden_size.")

    def _check_slots(self) -> None:
        first = self.first_slot_token_id
        if first is None or first + self.num_slots > self.vocab_end - self.n_action_bins:
            raise ModelConfigError(f"Parallel decoding needs {self.num_slots} slot tokens below the action bins.")

    @property
    def towers(self) -> tuple[TowerConfig, ...]:
        """The tower, or the two towers with fused features."""
        return (self.featurizer,) if self.fused_featurizer is None else (self.featurizer, self.fused_featurizer)

    def patches(self, tower: TowerConfig) -> int:
        """Return the number of patches of one image in `tower`."""
        return int((self.image_size // tower.patch_size) ** 2)

    @property
    def num_patches(self) -> int:
        """Number of patch tokens of all images."""
        return self.num_images * self.patches(self.featurizer)

    @property
    def num_slots(self) -> int:
        """Number of action tokens per chunk."""
        return self.chunk_size * self.action_dim

    @property
    def new_modules(self) -> tuple[str, ...]:
        """Parts that are trained completely in addition to an adapter: none, because a base has all parts."""
        return ()

    @property
    def vocab_end(self) -> int:
        """End of the vocabulary: the action bins are the `n_action_bins` ids before it."""
        return self.text.vocab_size - self.pad_to_multiple_of

    def llama(self) -> LlamaConfig:
        """Return the decoder configuration of transformers."""
        options = asdict(self.text)
        theta = options.pop("rope_theta")
        return LlamaConfig(**options, rope_parameters={"rope_type": "default", "rope_theta": theta})


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
"""Configurations by name, for building and planning without a checkpoint."""
