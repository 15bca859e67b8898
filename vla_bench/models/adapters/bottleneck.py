"""Bottleneck adapters: two small layers after the attention and after the MLP of each transformer block.

Houlsby et al., "Parameter-Efficient Transfer Learning for NLP" (2019): the adapter changes the output of the
sublayer before the residual connection. The reduction is 16, as in Pfeiffer et al. (2021). The up-projection starts
at zero, so an untrained adapter changes nothing.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from vla_bench.models.adapters.adapter import ADAPTER_CONFIG_FILE, ADAPTER_TYPES, BaseReference, read_adapter_config

_ADAPTER_TYPE = "bottleneck"
_ATTENTIONS = ("self_attn", "attention")  # what transformers' Llama and SigLIP, and its DINOv2, call it
_MLP = "mlp"
_DECODER, _VISION = "language_model", "vision_backbone"


@dataclass(frozen=True)
class BottleneckConfig:
    """The shape of the adapters, and where they sit."""

    reduction: int = 16  # width of the network over width of the bottleneck
    parts: tuple[str, ...] = (_DECODER,)  # parts of the network whose blocks get adapters
    whole: tuple[str, ...] = ()  # parts that are trained whole besides

    def __post_init__(self) -> None:
        if self.reduction < 1:
            raise ValueError(f"reduction is {self.reduction}; expected 1 or more")

    def size(self, width: int) -> int:
        """Return the width of the bottleneck in a network of `width`."""
        return max(1, width // self.reduction)

    @classmethod
    def of(cls, reduction: int, *, vision: bool, whole: tuple[str, ...] = ()) -> "BottleneckConfig":
        """Return adapters in the decoder, and where `vision` in both vision towers too."""
        return cls(reduction, (_DECODER, _VISION) if vision else (_DECODER,), whole)


class Bottleneck(nn.Module):
    """Add a small correction to what passes; in float32, whatever the network's precision, as PEFT trains LoRA."""

    def __init__(self, width: int, size: int, device: torch.device) -> None:
        super().__init__()
        self.down = nn.Linear(width, size, device=device)
        self.up = nn.Linear(size, width, device=device)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return corrected `hidden` (..., width), in its own precision."""
        inner: torch.Tensor = self.up(functional.gelu(self.down(hidden.to(self.down.weight.dtype))))
        return hidden + inner.to(hidden.dtype)


class AdaptedSublayer(nn.Module):
    """A sublayer followed by its adapter; takes what the sublayer takes and returns what it returns."""

    def __init__(self, sublayer: nn.Module, adapter: Bottleneck) -> None:
        super().__init__()
        self.sublayer, self.adapter = sublayer, adapter

    def forward(self, *arguments: Any, **options: Any) -> Any:
        """Return the sublayer's output, its hidden states corrected."""
        output = self.sublayer(*arguments, **options)
        if isinstance(output, tuple):  # an attention's hidden states and attention weights
            return self.adapter(output[0]), *output[1:]
        return self.adapter(output)


class BottleneckAdapter:
    """Satisfies `Adapter`."""

    unmergeable_reason: str | None = (
        "a bottleneck adapter has a nonlinearity between its two layers, which no linear layer can take over"
    )

    def __init__(self, model: nn.Module, config: BottleneckConfig) -> None:
        """Freeze `model` and put trainable adapters on it, in place.

        Raises `ValueError` where it has no such blocks.
        """
        model.requires_grad_(False)
        self._config = config
        self._trained: dict[str, nn.Module] = {}  # by the name in the network
        for name, block in list(_blocks(model, config.parts)):
            width, device = _width(block)
            for child in _sublayers(block):
                adapter = Bottleneck(width, config.size(width), device)
                setattr(block, child, AdaptedSublayer(getattr(block, child), adapter))
                self._trained[f"{name}.{child}.adapter"] = adapter
        if not self._trained:
            raise ValueError(f"the network has no transformer blocks in {' or '.join(config.parts)}")
        for name in config.whole:
            self._trained[name] = model.get_submodule(name).requires_grad_(True)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the adapters' tensors, on the CPU, by the names that they have in the network."""
        return {
            f"{name}.{key}": value.detach().cpu().contiguous()
            for name, module in self._trained.items()
            for key, value in module.state_dict().items()
        }

    def assign(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over `tensors`."""
        for name, module in self._trained.items():
            module.load_state_dict({key: tensors[f"{name}.{key}"] for key in module.state_dict()})

    def write_config(self, folder: Path, base: BaseReference) -> None:
        """Write `adapter_config.json`."""
        content = {"adapter_type": _ADAPTER_TYPE, "base_model_name_or_path": base.name, **asdict(self._config)}
        (folder / ADAPTER_CONFIG_FILE).write_text(json.dumps(content, indent=2) + "\n")

    def merge_into_base(self) -> None:
        """Raise: see `unmergeable_reason`."""
        raise NotImplementedError(self.unmergeable_reason)


@ADAPTER_TYPES.named(_ADAPTER_TYPE)
def attach_bottleneck(model: nn.Module, folder: Path) -> BottleneckAdapter:
    """Put bottleneck adapters as `folder` describes them on `model`."""
    content = read_adapter_config(folder)
    try:
        reduction = int(content["reduction"])
        parts, whole = (tuple(map(str, content[name])) for name in ("parts", "whole"))
    except KeyError as error:
        raise ValueError(f"field {error} is missing") from None
    return BottleneckAdapter(model, BottleneckConfig(reduction, parts, whole))


def _blocks(model: nn.Module, parts: tuple[str, ...]) -> Iterator[tuple[str, nn.Module]]:
    """Yield name and module of the transformer blocks in `parts`: what holds an attention and an MLP side by side."""
    for name, module in model.named_modules():
        if set(parts) & set(name.split(".")) and len(_sublayers(module)) == 2:
            yield name, module


def _sublayers(block: nn.Module) -> list[str]:
    children = dict(block.named_children())
    return [name for name in (*_ATTENTIONS, _MLP) if name in children]


def _width(block: nn.Module) -> tuple[int, torch.device]:
    """Return the width of a block's residual stream and where it lies: that of its norms."""
    norm = next(child for name, child in block.named_children() if "norm" in name)
    weight = norm.weight
    assert isinstance(weight, torch.Tensor)
    return len(weight), weight.device
