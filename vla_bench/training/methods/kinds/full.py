"""Full fine-tuning: every parameter."""

from typing import TYPE_CHECKING

from vla_bench.training.methods.method import METHODS
from vla_bench.training.methods.options import MethodOptions

if TYPE_CHECKING:
    from torch import nn


class Full:
    """Satisfies `Method`."""

    summary = "every parameter"
    quantisation: str | None = None

    def put_on(self, model: "nn.Module", options: MethodOptions) -> None:
        """Let every parameter want a gradient."""
        model.requires_grad_(True)


METHODS.register(Full(), name="full")
