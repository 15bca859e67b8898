"""What every adapter can do, and the registry of the forms in which they are saved."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from vla_bench.core.errors import CheckpointError
from vla_bench.core.registry import Registry
from vla_bench.models.adapters.folder import ADAPTER_CONFIG_FILE, BaseReference


class Adapter(Protocol):
    """An adapter that sits on a network, whose other weights are frozen."""

    @property
    def why_not_folded(self) -> str | None:
        """Why the adapter cannot become part of the base's own weights; None where it can."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the adapter's tensors, on the CPU, by the names under which they are saved."""

    def assign(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over `tensors`, named and shaped as those of `tensors()`."""

    def write_config(self, folder: Path, base: BaseReference) -> None:
        """Write the adapter's shape to `adapter_config.json` in the existing `folder`."""

    def fold(self) -> None:
        """Add the adapter to the base's own weights and take its modules away."""


ADAPTER_FORMS: Registry[Callable[[nn.Module, Path], Adapter]] = Registry(
    "form of adapter", "vla_bench.models.adapters.forms"
)
"""Functions that put an adapter shaped as `adapter_config.json` in a folder says on a network, in place, untrained."""


def attach_saved(model: nn.Module, folder: Path) -> Adapter:
    """Put modules for the adapter saved in `folder` on `model`, in place; their values are not loaded.

    Raises `CheckpointError` where its form is not known or does not fit the network.
    """
    config = read_adapter_config(folder)
    form = str(config.get("adapter_type") or config.get("peft_type", "(none)")).lower()
    if form not in ADAPTER_FORMS:
        known = ", ".join(ADAPTER_FORMS)
        raise CheckpointError(folder, f"{ADAPTER_CONFIG_FILE}: no form of adapter is named {form!r}. Known: {known}")
    try:
        return ADAPTER_FORMS[form](model, folder)
    except (TypeError, ValueError) as error:
        raise CheckpointError(folder, f"{ADAPTER_CONFIG_FILE} does not fit the base: {error}") from error


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Return the content of `adapter_config.json`. Raises `CheckpointError` where it is no JSON table."""
    try:
        content = json.loads((folder / ADAPTER_CONFIG_FILE).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(folder, f"{ADAPTER_CONFIG_FILE} is malformed: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(folder, f"{ADAPTER_CONFIG_FILE} is malformed: it holds no table")
    return content
