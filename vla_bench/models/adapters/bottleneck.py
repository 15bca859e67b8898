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
_ATTENTIONS = ("self_attn", "attention")  # names in Llama and SigLIP of transformers, and in its DINOv2
_MLP = "mlp"
_DECODER, _VISION = "language_model", "vision_backbone"


@dataclass(frozen=True)
class BottleneckConfig:
    """Configuration of bottleneck adapters."""

    reduction: int = 16  # width of the network divided by width of the bottleneck
    parts: tuple[str, ...] = (_DECODER,)  # parts of the network whose blocks get adapters
    whole: tuple[str, ...] = ()  # parts that are also trained completely

    def __post_init__(self) -> None:
        if self.reduction < 1:
            raise ValueError(f"reduction is {self.reduction}. Expected 1 or more")

    def size(self, width: int) -> int:
        """Return the width of the bottleneck in a network of `width`."""
        return max(1, width // self.reduction)

    @classmethod
    def of(cls, reduction: int, *, vision: bool, whole: tuple[str, ...] = ()) -> "BottleneckConfig":
        """Return adapters in the decoder, and with `vision` also in both vision towers."""
        return cls(reduction, (_DECODER, _VISION) if vision else (_DECODER,), whole)


class Bottleneck(nn.Module):
    """Bottleneck layers with residual connection, in float32 for any precision of the network, like LoRA in PEFT."""

    def __init__(self, width: int, size: int, device: torch.device) -> None:
        super().__init__()
        self.down = nn.Linear(width, size, device=device)
        self.up = nn.Linear(size, width, device=device)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return adapted `hidden` (..., width) in its precision."""
        inner: torch.Tensor = self.up(functional.gelu(self.down(hidden.to(self.down.weight.dtype))))
        return hidden + inner.to(hidden.dtype)


class AdaptedSublayer(nn.Module):
    """A sublayer followed by its adapter, with the interface of the sublayer."""

    def __init__(self, sublayer: nn.Module, adapter: Bottleneck) -> None:
        super().__init__()
        self.sublayer, self.adapter = sublayer, adapter

    def forward(self, *arguments: Any, **options: Any) -> Any:
        """Return the output of the sublayer with adapted hidden states."""
        output = self.sublayer(*arguments, **options)
        if isinstance(output, tuple):  # hidden states and attention weights of an attention
            return self.adapter(output[0]), *output[1:]
        return self.adapter(output)


class BottleneckAdapter:
    """Bottleneck implementation of `Adapter`."""

    unmergeable_reason: str | None = (
        "a bottleneck adapter has a nonlinearity between its two layers, which cannot be merged into linear layers"
    )

    def __init__(self, model: nn.Module, config: BottleneckConfig) -> None:
        """Freeze `model` and attach trainable adapters, in place.

        Raises `ValueError` if it has no such blocks.
        """
        model.requires_grad_(False)
        self._config = config
        self._trained: dict[str, nn.Module] = {}  # by name in the network
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
        """Return the tensors of the adapters on the CPU, by their names in the network."""
        return {
            f"{name}.{key}": value.detach().cpu().contiguous()
            for name, module in self._trained.items()
            for key, value in module.state_dict().items()
        }

    def assign(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Load `tensors`."""
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
    """Attach bottleneck adapters as described in `folder` to `model`."""
    content = read_adapter_config(folder)
    try:
        reduction = int(content["reduction"])
        parts, whole = (tuple(map(str, content[name])) for name in ("parts", "whole"))
    except KeyError as error:
        raise ValueError(f"field {error} is missing") from None
    return BottleneckAdapter(model, BottleneckConfig(reduction, parts, whole))


def _blocks(model: nn.Module, parts: tuple[str, ...]) -> Iterator[tuple[str, nn.Module]]:
    """Yield name and module of the transformer blocks in `parts`: modules with an attention and an MLP."""
    for name, module in model.named_modules():
        if set(parts) & set(name.split(".")) and len(_sublayers(module)) == 2:
            yield name, module


def _sublayers(block: nn.Module) -> list[str]:
    children = dict(block.named_children())
    return [name for name in (*_ATTENTIONS, _MLP) if name in children]


def _width(block: nn.Module) -> tuple[int, torch.device]:
    """Return width and device of the residual stream of a block, from its norms."""
    norm = next(child for name, child in block.named_children() if "norm" in name)
    weight = norm.weight
    assert isinstance(weight, torch.Tensor)
    return len(weight), weight.device
