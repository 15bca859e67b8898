"""What a user may choose about a fine-tuning method."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from vla_bench.core.errors import UnknownNameError

ALL_LINEAR: Literal["all-linear"] = "all-linear"
Preset = Literal["openvla", "plain"]
_LARGEST_ALPHA = 16  # of OpenVLA's recipe


@dataclass(frozen=True)
class LowRankSettings:
    """The shape of LoRA's and DoRA's updates, all chosen."""

    rank: int
    alpha: int
    dropout: float
    targets: Literal["all-linear"] | tuple[str, ...]
    gaussian: bool  # first weights: normal, as OpenVLA's; otherwise PEFT's own, uniform


@dataclass(frozen=True)
class _Recipe:
    rank: int
    alpha: int | None  # None: the rank, at most 16
    dropout: float
    targets: Literal["all-linear"] | tuple[str, ...]
    gaussian: bool


PRESETS: Mapping[Preset, _Recipe] = {
    "openvla": _Recipe(32, None, 0.0, ALL_LINEAR, True),  # vla-scripts/finetune.py of openvla/openvla
    "plain": _Recipe(
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
        from vla_bench.training.methods.method import METHODS

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
        alpha = recipe.alpha if recipe.alpha is not None else min(rank, _LARGEST_ALPHA)
        return LowRankSettings(
            rank,
            alpha if self.alpha is None else self.alpha,
            recipe.dropout if self.dropout is None else self.dropout,
            recipe.targets if self.targets is None else self.targets,
            recipe.gaussian,
        )
