"""Mixed precision and activation checkpointing."""

from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch
from torch import nn
from transformers import PreTrainedModel

from vla_bench.core.errors import VlaBenchError
from vla_bench.training.config import Precision


def autocast_context(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """Return the context in which the network is to be called."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision != "float32")


def cast_weights(model: nn.Module, precision: Precision) -> None:
    """Put the network's parameters into the numbers that `precision` holds them in, in place.

    Buffers, such as the frequencies of rotary positions, stay as exact as they are.
    """
    if precision != "bf16-weights":
        return
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(torch.bfloat16)


def enable_activation_checkpointing(model: nn.Module) -> None:
    """Let every transformer within `model` keep the inputs of its layers alone, and compute the rest again.

    Raises where no part of it can: transformers' own layers know how.
    """
    parts = list(_outermost_transformers(model))
    if not parts:
        raise VlaBenchError(f"{type(model).__name__} has no part that can compute its activations again.")
    for part in parts:  # the first name is transformers' new one, the second goes with its version 6
        enable = getattr(part, "activation_checkpointing_enable", None) or part.gradient_checkpointing_enable
        enable({"use_reentrant": False})


def _outermost_transformers(module: nn.Module) -> Iterator[PreTrainedModel]:
    """Yield the outermost transformers below `module` that can."""
    for child in module.children():
        if isinstance(child, PreTrainedModel) and child.supports_gradient_checkpointing:
            yield child
        else:
            yield from _outermost_transformers(child)
