"""The fine-tuning method protocol, its registry and options, and the application of a method to a network."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from vla_bench.core.errors import UnknownNameError
from vla_bench.core.registry import Registry

if TYPE_CHECKING:
    from torch import nn

    from vla_bench.models.adapters import Adapter, BaseReference
    from vla_bench.models.networks.network import NetworkCheckpoint


ALL_LINEAR: Literal["all-linear"] = "all-linear"
Preset = Literal["openvla", "plain"]
_MAX_ALPHA = 16  # in OpenVLA's recipe


@dataclass(frozen=True)
class LowRankSettings:
    """Complete settings of LoRA and DoRA."""

    rank: int
    alpha: int
    dropout: float
    targets: Literal["all-linear"] | tuple[str, ...]
    gaussian: bool  # initialization: normal, as in OpenVLA; otherwise PEFT's default, uniform


@dataclass(frozen=True)
class _LowRankPreset:
    rank: int
    alpha: int | None  # None: the rank, at most 16
    dropout: float
    targets: Literal["all-linear"] | tuple[str, ...]
    gaussian: bool


PRESETS: Mapping[Preset, _LowRankPreset] = {
    "openvla": _LowRankPreset(32, None, 0.0, ALL_LINEAR, True),  # vla-scripts/finetune.py of openvla/openvla
    "plain": _LowRankPreset(
        8, 16, 0.05, tuple(f"language_model.{name}_proj" for name in "qkvo"), False
    ),  # as in most guides to LoRA: attention of the decoder only
}


class MethodOptions(BaseModel):
    """The fine-tuning method and its options; None means the value of the preset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Annotated[
        str, Field(description="Fine-tuning method: full, lora, dora, qlora or adapter (bottleneck).")
    ] = "lora"
    preset: Annotated[
        Preset,
        Field(description="LoRA, DoRA, QLoRA: openvla (rank 32, all linear) or plain (rank 8, attention)."),
    ] = "openvla"
    rank: Annotated[int | None, Field(ge=1, description="LoRA rank. [default: that of the preset]")] = None
    alpha: Annotated[int | None, Field(ge=1, description="LoRA alpha. [default: that of the preset]")] = None
    dropout: Annotated[float | None, Field(ge=0, lt=1, description="LoRA dropout. [default: that of the preset]")] = (
        None
    )
    targets: Annotated[
        Literal["all-linear"] | tuple[str, ...] | None,
        Field(description="Linear layer to adapt with LoRA, such as q_proj or language_model.q_proj; repeat."),
    ] = None
    train_whole: Annotated[
        tuple[str, ...],
        Field(description="Module to train fully in addition, such as proprioception_projector; repeat."),
    ] = ()
    reduction: Annotated[
        int, Field(ge=1, description="Bottleneck adapters: width of the network divided by that of the adapters.")
    ] = 16
    adapt_vision: Annotated[bool, Field(description="Bottleneck adapters: also in the vision towers.")] = False

    @field_validator("method")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in METHODS:
            raise ValueError(str(UnknownNameError("fine-tuning method", name, METHODS)).removesuffix("."))
        return name

    def with_trained_modules(self, names: tuple[str, ...]) -> Self:
        """Return options that also train the modules `names` fully."""
        return self.model_copy(update={"train_whole": tuple(dict.fromkeys((*self.train_whole, *names)))})

    def low_rank(self) -> LowRankSettings:
        """Return the settings of the preset with the options that are set."""
        preset = PRESETS[self.preset]
        rank = preset.rank if self.rank is None else self.rank
        alpha = preset.alpha if preset.alpha is not None else min(rank, _MAX_ALPHA)
        return LowRankSettings(
            rank,
            alpha if self.alpha is None else self.alpha,
            preset.dropout if self.dropout is None else self.dropout,
            preset.targets if self.targets is None else self.targets,
            preset.gaussian,
        )


class Method(Protocol):
    """A fine-tuning method."""

    @property
    def summary(self) -> str:
        """Short description of the trained parameters."""

    @property
    def quantization(self) -> str | None:
        """Quantization of the base's linear layers while training; None: not quantized."""

    def apply(self, model: "nn.Module", options: MethodOptions) -> "Adapter | None":
        """Freeze `model` and add the trained modules in place; return None if the network itself is trained.

        Raises `UnknownNameError` for a layer that does not exist.
        """


METHODS: Registry[Method] = Registry("fine-tuning method", "vla_bench.training.methods")


@dataclass(frozen=True)
class TrainableNetwork:
    """A network prepared for training, with its parameter counts."""

    adapter: "Adapter | None"  # None: the network itself is trained
    trainable_parameters: int
    total_parameters: int  # including those of the adapter

    @property
    def percentage(self) -> float:
        """Trained parameters in percent of all parameters."""
        return 100.0 * self.trainable_parameters / self.total_parameters

    def save(self, folder: Path, base: "BaseReference", checkpoint: "NetworkCheckpoint") -> None:
        """Write the adapter, or the whole network if there is none, into the existing `folder`."""
        from vla_bench.models.adapters import save_adapter

        if self.adapter is None:
            checkpoint.write(folder)
        else:
            save_adapter(folder, self.adapter, base, checkpoint)


def require_submodules(model: "nn.Module", names: tuple[str, ...]) -> tuple[str, ...]:
    """Return `names`. Raises `UnknownNameError` for a name that is not a submodule of `model`."""
    known = [name for name, _ in model.named_modules() if name]
    for name in names:
        if name not in known:
            raise UnknownNameError("module of the network", name, known)
    return names


def apply_method(model: "nn.Module", options: MethodOptions) -> TrainableNetwork:
    """Apply the method of `options` to `model` in place; only trained parameters require a gradient afterwards.

    Raises `MissingExtraError` if the method needs bitsandbytes and it is not installed.
    """
    from vla_bench.models.openvla.quantization import quantize_linear_layers

    total = sum(value.numel() for value in model.parameters())  # before NF4 packs two weights into a byte
    quantization = METHODS[options.method].quantization
    if quantization is not None:
        quantize_linear_layers(model, quantization, require_submodules(model, options.train_whole))
    return apply_without_quantizing(model, options, total)


def apply_without_quantizing(model: "nn.Module", options: MethodOptions, total: int) -> TrainableNetwork:
    """Apply the method to `model` in place without quantizing it; `total` is its number of parameters."""
    modules = require_submodules(model, options.train_whole)
    whole = sum(value.numel() for name in modules for value in model.get_submodule(name).parameters())
    adapter = METHODS[options.method].apply(model, options)
    trainable = sum(value.numel() for value in model.parameters() if value.requires_grad)
    return TrainableNetwork(adapter, trainable, total if adapter is None else total + trainable - whole)
