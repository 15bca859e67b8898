"""Bottleneck adapters after attention and MLP of each block."""

from typing import TYPE_CHECKING

from vla_bench.training.methods.method import METHODS, parts_named
from vla_bench.training.methods.options import MethodOptions

if TYPE_CHECKING:
    from torch import nn

    from vla_bench.models.adapters import Adapter


class BottleneckAdapters:
    """Satisfies `Method`."""

    summary = "small layers after attention and MLP"
    quantisation: str | None = None

    def put_on(self, model: "nn.Module", options: MethodOptions) -> "Adapter":
        """Freeze `model` and put bottleneck adapters on it."""
        from vla_bench.models.adapters.forms.bottleneck import BottleneckAdapter, BottleneckConfig

        whole = parts_named(model, options.train_whole)
        config = BottleneckConfig.of(options.reduction, vision=options.adapt_vision, whole=whole)
        return BottleneckAdapter(model, config)


METHODS.register(BottleneckAdapters(), name="adapter")
