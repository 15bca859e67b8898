"""The adapter protocol, the registry of adapter types, and the files of an adapter folder.

A new type of adapter is one new module in this package.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from vla_bench.core.errors import CheckpointError
from vla_bench.core.registry import Registry
from vla_bench.models.network_record import RECORD_FILE
from vla_bench.models.normalization import STATISTICS_FILE

# ~ The files of an adapter's folder.

ADAPTER_CONFIG_FILE = "adapter_config.json"
ADAPTER_WEIGHTS_FILE = "adapter_model.safetensors"
BASE_FILE = "base.json"
ADAPTER_FILES = (ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, BASE_FILE, STATISTICS_FILE)
OPTIONAL_ADAPTER_FILES = (RECORD_FILE,)  # where the base does not say which network the adapter sits on


@dataclass(frozen=True)
class BaseReference:
    """Which weights an adapter belongs to, and how they were held while it was trained."""

    name: str  # what `find_base` finds
    weights_sha256: str
    quantisation: str | None = None  # "nf4": the base was rounded to 4 bits; None: as it is stored


def read_base(folder: Path) -> BaseReference:
    """Return which base the adapter in `folder` needs. Raises `CheckpointError` naming what is missing."""
    for name in ADAPTER_FILES:
        if not (folder / name).is_file():
            raise CheckpointError(folder, f"{name} is missing" if folder.is_dir() else "no such folder")
    try:
        return BaseReference(**json.loads((folder / BASE_FILE).read_text()))
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise CheckpointError(folder, f"{BASE_FILE} is malformed: {error}") from error


def write_base(folder: Path, base: BaseReference) -> None:
    """Write which base the adapter in `folder` needs."""
    (folder / BASE_FILE).write_text(json.dumps(vars(base), indent=2) + "\n")


def write_tensors(folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write the adapter's weights."""
    save_file(dict(tensors), folder / ADAPTER_WEIGHTS_FILE, metadata={"format": "pt"})


def read_tensors(folder: Path, wanted: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the adapter's weights, which must have the names and shapes of `wanted`, no more and no fewer."""
    try:
        tensors = load_file(folder / ADAPTER_WEIGHTS_FILE)
    except SafetensorError as error:
        raise CheckpointError(folder, f"{ADAPTER_WEIGHTS_FILE} is damaged: {error}") from error
    for name in sorted(wanted.keys() | tensors.keys()):
        if name not in tensors:
            raise CheckpointError(folder, f"{ADAPTER_WEIGHTS_FILE} lacks the tensor {name}")
        if name not in wanted:
            raise CheckpointError(folder, f"{ADAPTER_WEIGHTS_FILE} has a tensor that does not fit the base: {name}")
        if tensors[name].shape != wanted[name].shape:
            shapes = f"{tuple(tensors[name].shape)}; expected {tuple(wanted[name].shape)}"
            raise CheckpointError(folder, f"{ADAPTER_WEIGHTS_FILE}: {name} has shape {shapes}")
    return tensors


# ~ What every adapter can do, and the registry of the forms in which they are saved.


class Adapter(Protocol):
    """An adapter that sits on a network, whose other weights are frozen."""

    @property
    def unmergeable_reason(self) -> str | None:
        """Why the adapter cannot become part of the base's own weights; None where it can."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the adapter's tensors, on the CPU, by the names under which they are saved."""

    def assign(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over `tensors`, named and shaped as those of `tensors()`."""

    def write_config(self, folder: Path, base: BaseReference) -> None:
        """Write the adapter's shape to `adapter_config.json` in the existing `folder`."""

    def merge_into_base(self) -> None:
        """Add the adapter to the base's own weights and take its modules away."""


ADAPTER_TYPES: Registry[Callable[[nn.Module, Path], Adapter]] = Registry("form of adapter", "vla_bench.models.adapters")
"""Functions that put an adapter shaped as `adapter_config.json` in a folder says on a network, in place, untrained."""


def attach_saved_adapter(model: nn.Module, folder: Path) -> Adapter:
    """Put modules for the adapter saved in `folder` on `model`, in place; their values are not loaded.

    Raises `CheckpointError` where its form is not known or does not fit the network.
    """
    config = read_adapter_config(folder)
    form = str(config.get("adapter_type") or config.get("peft_type", "(none)")).lower()
    if form not in ADAPTER_TYPES:
        known = ", ".join(ADAPTER_TYPES)
        raise CheckpointError(folder, f"{ADAPTER_CONFIG_FILE}: no form of adapter is named {form!r}. Known: {known}")
    try:
        return ADAPTER_TYPES[form](model, folder)
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
