"""Built-in fine-tuning methods: full, LoRA, DoRA, QLoRA and bottleneck adapters.

LoRA (Hu et al., 2022), DoRA (Liu et al., 2024) and QLoRA (Dettmers et al., 2023) use PEFT.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vla_bench.core.errors import UnknownNameError
from vla_bench.training.methods.method import ALL_LINEAR, METHODS, MethodOptions, require_submodules

if TYPE_CHECKING:
    from torch import nn

    from vla_bench.models.adapters import Adapter


class FullFinetuning:
    """Full fine-tuning."""

    summary = "every parameter"
    quantization: str | None = None

    def apply(self, model: "nn.Module", options: MethodOptions) -> None:
        """Enable the gradient of every parameter."""
        model.requires_grad_(True)


METHODS.register(FullFinetuning(), name="full")


@dataclass(frozen=True)
class LowRank:
    """LoRA, or DoRA with `decomposed`, on a base that may be quantized."""

    summary: str
    quantization: str | None = None
    decomposed: bool = False  # DoRA: magnitude and direction of the weights are trained separately

    def apply(self, model: "nn.Module", options: MethodOptions) -> "Adapter":
        """Freeze `model` and add low-rank updates."""
        from peft import LoraConfig

        from vla_bench.models.adapters.lora import LowRankAdapter
        from vla_bench.models.openvla.quantization import linear_layer_names

        settings = options.low_rank()
        whole = {
            name: linear_layer_names(model.get_submodule(name))
            for name in require_submodules(model, options.train_whole)
        }
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=target_modules(model, settings.targets, options.train_whole),
            init_lora_weights="gaussian" if settings.gaussian else True,
            use_dora=self.decomposed,
            modules_to_save=list(options.train_whole) or None,
            exclude_modules=[f"{part}.{name}" for part, names in whole.items() for name in names] or None,
        )
        return LowRankAdapter(model, config)


def target_modules(model: "nn.Module", targets: str | tuple[str, ...], whole: tuple[str, ...] = ()) -> list[str]:
    """Return PEFT's `target_modules`, without the layers in the modules `whole`.

    A target is the last component of a layer's name, such as `q_proj`, which selects all layers of that name, or
    a module and a layer, such as `language_model.q_proj`. Raises `UnknownNameError` for a target without any layer.
    """
    from vla_bench.models.openvla.quantization import linear_layer_names

    layers = linear_layer_names(model, whole)
    last_names = sorted({name.rsplit(".", 1)[-1] for name in layers})
    if targets == ALL_LINEAR:
        return last_names
    chosen: list[str] = []
    for target in targets:
        found = [name for name in layers if target in _layer_aliases(name)]
        if target not in last_names and not found:
            raise UnknownNameError("linear layer (LoRA target)", target, _all_aliases(layers))
        chosen += [target] if target in last_names else found
    return chosen


def _layer_aliases(layer: str) -> list[str]:
    """Return the full name of a layer, and every run of its parent modules' names followed by its last name."""
    *path, last = layer.split(".")
    runs = [path[first:end] for first in range(len(path)) for end in range(first + 1, len(path) + 1)]
    return [layer, *(".".join([*run, last]) for run in runs)]


def _all_aliases(layers: list[str]) -> set[str]:
    return {alias for name in layers for alias in (name.rsplit(".", 1)[-1], *_layer_aliases(name))}


METHODS.register(LowRank("low-rank updates of linear layers"), name="lora")
METHODS.register(LowRank("low-rank updates of weight directions, and magnitudes", decomposed=True), name="dora")
METHODS.register(LowRank("low-rank updates of a base stored in 4 bits", quantization="nf4"), name="qlora")


class BottleneckAdapters:
    """Bottleneck adapters after the attention and the MLP of each block."""

    summary = "bottleneck layers after attention and MLP"
    quantization: str | None = None

    def apply(self, model: "nn.Module", options: MethodOptions) -> "Adapter":
        """Freeze `model` and add bottleneck adapters."""
        from vla_bench.models.adapters.bottleneck import BottleneckAdapter, BottleneckConfig

        whole = require_submodules(model, options.train_whole)
        config = BottleneckConfig.of(options.reduction, vision=options.adapt_vision, whole=whole)
        return BottleneckAdapter(model, config)


METHODS.register(BottleneckAdapters(), name="adapter")
