"""LoRA (Hu et al., 2022), DoRA (Liu et al., 2024) and QLoRA (Dettmers et al., 2023), all by PEFT."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vla_bench.core.errors import UnknownNameError
from vla_bench.training.methods.method import METHODS, parts_named
from vla_bench.training.methods.options import ALL_LINEAR, MethodOptions

if TYPE_CHECKING:
    from torch import nn

    from vla_bench.models.adapters import Adapter


@dataclass(frozen=True)
class LowRank:
    """Satisfies `Method`."""

    summary: str
    quantisation: str | None = None
    decomposed: bool = False  # DoRA: the length of each weight's columns is trained apart from their direction

    def put_on(self, model: "nn.Module", options: MethodOptions) -> "Adapter":
        """Freeze `model` and put low-rank updates on it."""
        from peft import LoraConfig

        from vla_bench.models.adapters.forms.low_rank import LowRankAdapter
        from vla_bench.models.adapters.quantisation import linear_layer_names

        settings = options.low_rank()
        whole = {
            name: linear_layer_names(model.get_submodule(name)) for name in parts_named(model, options.train_whole)
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
    from vla_bench.models.adapters.quantisation import linear_layer_names

    layers = linear_layer_names(model, whole)
    last_names = sorted({name.rsplit(".", 1)[-1] for name in layers})
    if targets == ALL_LINEAR:
        return last_names
    chosen: list[str] = []
    for target in targets:
        found = [name for name in layers if target in _ways_to_name(name)]
        if target not in last_names and not found:
            raise UnknownNameError("linear layer (LoRA target)", target, _all_ways(layers))
        chosen += [target] if target in last_names else found
    return chosen


def _ways_to_name(layer: str) -> list[str]:
    """Return the layer's whole name and, for every run of parts that it lies in, their names with the layer's last."""
    *path, last = layer.split(".")
    runs = [path[first:end] for first in range(len(path)) for end in range(first + 1, len(path) + 1)]
    return [layer, *(".".join([*run, last]) for run in runs)]


def _all_ways(layers: list[str]) -> set[str]:
    return {way for name in layers for way in (name.rsplit(".", 1)[-1], *_ways_to_name(name))}


METHODS.register(LowRank("low-rank updates of linear layers"), name="lora")
METHODS.register(LowRank("low-rank updates of direction, and lengths", decomposed=True), name="dora")
METHODS.register(LowRank("low-rank updates of a base held in 4 bits", quantisation="nf4"), name="qlora")
