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


# ~ Full fine-tuning: every parameter.


class FullFinetuning:
    """Satisfies `Method`."""

    summary = "every parameter"
    quantisation: str | None = None

    def apply(self, model: "nn.Module", options: MethodOptions) -> None:
        """Let every parameter want a gradient."""
        model.requires_grad_(True)


METHODS.register(FullFinetuning(), name="full")


# ~ LoRA (Hu et al., 2022), DoRA (Liu et al., 2024) and QLoRA (Dettmers et al., 2023), all by PEFT.


@dataclass(frozen=True)
class LowRank:
    """Satisfies `Method`."""

    summary: str
    quantisation: str | None = None
    decomposed: bool = False  # DoRA: the length of each weight's columns is trained apart from their direction

    def apply(self, model: "nn.Module", options: MethodOptions) -> "Adapter":
        """Freeze `model` and put low-rank updates on it."""
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
    """Return what PEFT should look for: layers' last names, which hold all over the network, or whole names.

    Layers in the parts `whole` are none of them.

    A target is a last name, such as `q_proj`, or that of a layer in one part, such as `language_model.q_proj`.
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
    """Return the layer's whole name and, for every run of parts that it lies in, their names with the layer's last."""
    *path, last = layer.split(".")
    runs = [path[first:end] for first in range(len(path)) for end in range(first + 1, len(path) + 1)]
    return [layer, *(".".join([*run, last]) for run in runs)]


def _all_aliases(layers: list[str]) -> set[str]:
    return {way for name in layers for way in (name.rsplit(".", 1)[-1], *_layer_aliases(name))}


METHODS.register(LowRank("low-rank updates of linear layers"), name="lora")
METHODS.register(LowRank("low-rank updates of direction, and lengths", decomposed=True), name="dora")
METHODS.register(LowRank("low-rank updates of a base held in 4 bits", quantisation="nf4"), name="qlora")


# ~ Bottleneck adapters after attention and MLP of each block.


class BottleneckAdapters:
    """Satisfies `Method`."""

    summary = "small layers after attention and MLP"
    quantisation: str | None = None

    def apply(self, model: "nn.Module", options: MethodOptions) -> "Adapter":
        """Freeze `model` and put bottleneck adapters on it."""
        from vla_bench.models.adapters.bottleneck import BottleneckAdapter, BottleneckConfig

        whole = require_submodules(model, options.train_whole)
        config = BottleneckConfig.of(options.reduction, vision=options.adapt_vision, whole=whole)
        return BottleneckAdapter(model, config)


METHODS.register(BottleneckAdapters(), name="adapter")
