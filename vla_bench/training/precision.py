"""Mixed precision and activation checkpointing."""

from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch
from torch import nn
from transformers import PreTrainedModel

from vla_bench.core.errors import VlaBenchError
from vla_bench.training.config import Precision


def autocast_context(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """Return the context for forward passes of the network."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision != "float32")


def cast_weights(model: nn.Module, precision: Precision) -> None:
    """Cast the parameters of the network to the dtype of `precision` in place.

    Buffers, such as the frequencies of rotary position embeddings, keep their dtype.
    """
    if precision != "bf16-weights":
        return
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(torch.bfloat16)


def enable_activation_checkpointing(model: nn.Module) -> None:
    """Enable activation checkpointing in every transformer inside `model`.

    Raises `VlaBenchError` if `model` contains no transformers model that supports it.
    """
    transformers = list(_outermost_transformers(model))
    if not transformers:
        raise VlaBenchError(
            f"{type(model).__name__} contains no transformers model with support for activation checkpointing. "
            "Set gradient_checkpointing = false."
        )
    for part in transformers:  # transformers 6 removes the second, older name
        enable = getattr(part, "activation_checkpointing_enable", None) or part.gradient_checkpointing_enable
        enable({"use_reentrant": False})


def _outermost_transformers(module: nn.Module) -> Iterator[PreTrainedModel]:
    """Yield the outermost transformers models below `module` that support activation checkpointing."""
    for child in module.children():
        if isinstance(child, PreTrainedModel) and child.supports_gradient_checkpointing:
            yield child
        else:
            yield from _outermost_transformers(child)
