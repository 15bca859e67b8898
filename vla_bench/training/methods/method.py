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


# ~ What a user may choose about a fine-tuning method.

ALL_LINEAR: Literal["all-linear"] = "all-linear"
Preset = Literal["openvla", "plain"]
_MAX_ALPHA = 16  # of OpenVLA's recipe


@dataclass(frozen=True)
class LowRankSettings:
    """The shape of LoRA's and DoRA's updates, all chosen."""

    rank: int
    alpha: int
    dropout: float
    targets: Literal["all-linear"] | tuple[str, ...]
    gaussian: bool  # first weights: normal, as OpenVLA's; otherwise PEFT's own, uniform


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
    ),  # what most guides to LoRA use: the decoder's attention alone
}


class MethodOptions(BaseModel):
    """Which method, and its knobs; one left out is the preset's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Annotated[str, Field(description="Train by full, lora, dora, qlora or adapter (bottleneck).")] = "lora"
    preset: Annotated[
        Preset,
        Field(description="LoRA, DoRA, QLoRA: openvla (rank 32, all linear) or plain (rank 8, attention)."),
    ] = "openvla"
    rank: Annotated[int | None, Field(ge=1, description="LoRA's rank. [default: the preset's]")] = None
    alpha: Annotated[int | None, Field(ge=1, description="LoRA's alpha. [default: the preset's]")] = None
    dropout: Annotated[float | None, Field(ge=0, lt=1, description="LoRA's dropout. [default: the preset's]")] = None
    targets: Annotated[
        Literal["all-linear"] | tuple[str, ...] | None,
        Field(description="Linear layer that LoRA adapts, q_proj or language_model.q_proj; repeat."),
    ] = None
    train_whole: Annotated[
        tuple[str, ...],
        Field(description="Part trained whole beside the method, such as proprioception_projector; repeat."),
    ] = ()
    reduction: Annotated[int, Field(ge=1, description="Of bottleneck adapters: the network's width over theirs.")] = 16
    adapt_vision: Annotated[bool, Field(description="Bottleneck adapters in the vision towers too.")] = False

    @field_validator("method")
    @classmethod
    def _known(cls, name: str) -> str:

        if name not in METHODS:
            raise ValueError(str(UnknownNameError("fine-tuning method", name, METHODS)).removesuffix("."))
        return name

    def beside(self, parts: tuple[str, ...]) -> Self:
        """Return the options that train `parts` whole besides."""
        return self.model_copy(update={"train_whole": tuple(dict.fromkeys((*self.train_whole, *parts)))})

    def low_rank(self) -> LowRankSettings:
        """Return the preset's updates with what was chosen in its place."""
        recipe = PRESETS[self.preset]
        rank = recipe.rank if self.rank is None else self.rank
        alpha = recipe.alpha if recipe.alpha is not None else min(rank, _MAX_ALPHA)
        return LowRankSettings(
            rank,
            alpha if self.alpha is None else self.alpha,
            recipe.dropout if self.dropout is None else self.dropout,
            recipe.targets if self.targets is None else self.targets,
            recipe.gaussian,
        )


# ~ What a fine-tuning method is, and what putting one on a network gives.


class Method(Protocol):
    """A way to fine-tune."""

    @property
    def summary(self) -> str:
        """What is trained, in a few words."""

    @property
    def quantisation(self) -> str | None:
        """How the base's linear layers are held while training; None: as they are."""

    def apply(self, model: "nn.Module", options: MethodOptions) -> "Adapter | None":
        """Freeze what `model` holds and put what is trained on it, in place; None where the network itself is trained.

        Raises `UnknownNameError` for a layer that is not there.
        """


METHODS: Registry[Method] = Registry("fine-tuning method", "vla_bench.training.methods")


@dataclass(frozen=True)
class TrainableNetwork:
    """A network in training, and what of it is."""

    adapter: "Adapter | None"  # None: the whole network
    trainable_parameters: int
    total_parameters: int  # the adapter's among them

    @property
    def percentage(self) -> float:
        """How much of the network is trained."""
        return 100.0 * self.trainable_parameters / self.total_parameters

    def save(self, folder: Path, base: "BaseReference", checkpoint: "NetworkCheckpoint") -> None:
        """Write what was trained, and no more, into the existing `folder`."""
        from vla_bench.models.adapters import save_adapter

        if self.adapter is None:
            checkpoint.write(folder)
        else:
            save_adapter(folder, self.adapter, base, checkpoint)


def require_submodules(model: "nn.Module", names: tuple[str, ...]) -> tuple[str, ...]:
    """Return `names`, all of which must be parts of `model`. Raises `UnknownNameError`."""
    known = [name for name, _ in model.named_modules() if name]
    for name in names:
        if name not in known:
            raise UnknownNameError("part of the network", name, known)
    return names


def apply_method(model: "nn.Module", options: MethodOptions) -> TrainableNetwork:
    """Prepare `model`, in place, for the method chosen in `options`: from here on what it trains wants a gradient.

    Raises `MissingExtraError` where the base should be held in 4 bits without bitsandbytes.
    """
    from vla_bench.models.openvla.quantization import quantize_linear_layers

    total = sum(value.numel() for value in model.parameters())  # before two weights share a byte
    quantisation = METHODS[options.method].quantisation
    if quantisation is not None:
        quantize_linear_layers(model, quantisation, require_submodules(model, options.train_whole))
    return apply_without_quantizing(model, options, total)


def apply_without_quantizing(model: "nn.Module", options: MethodOptions, total: int) -> TrainableNetwork:
    """Put the method on `model`, of `total` parameters, in place, however its weights are held."""
    parts = require_submodules(model, options.train_whole)
    whole = sum(value.numel() for name in parts for value in model.get_submodule(name).parameters())
    adapter = METHODS[options.method].apply(model, options)
    trainable = sum(value.numel() for value in model.parameters() if value.requires_grad)
    return TrainableNetwork(adapter, trainable, total if adapter is None else total + trainable - whole)
