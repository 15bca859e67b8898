"""The adapter protocol, the registry of adapter types, and the files of an adapter folder.

A new type of adapter is one new module in this package.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from vla_bench.core.errors import CheckpointError
from vla_bench.core.registry import Registry
from vla_bench.models.network_record import RECORD_FILE
from vla_bench.models.normalization import STATISTICS_FILE

ADAPTER_CONFIG_FILE = "adapter_config.json"
ADAPTER_WEIGHTS_FILE = "adapter_model.safetensors"
BASE_FILE = "base.json"
ADAPTER_FILES = (ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, BASE_FILE, STATISTICS_FILE)
OPTIONAL_ADAPTER_FILES = (RECORD_FILE,)  # if the base does not identify the network of the adapter


@dataclass(frozen=True)
class BaseReference:
    """Base weights of an adapter, and their quantization during training."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str  # argument of `find_base`
    weights_sha256: str
    quantisation: str | None = None  # "nf4": the base was rounded to 4 bits; None: as stored


def read_base(folder: Path) -> BaseReference:
    """Return the base of the adapter in `folder`; raise `CheckpointError` with the missing file."""
    for name in ADAPTER_FILES:
        if not (folder / name).is_file():
            raise CheckpointError(folder, f"{name} is missing" if folder.is_dir() else "the folder does not exist")
    try:
        return TypeAdapter(BaseReference).validate_json((folder / BASE_FILE).read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "content"
        raise CheckpointError(folder, f"{BASE_FILE} is malformed: {field}: {first['msg']}") from error


def write_base(folder: Path, base: BaseReference) -> None:
    """Write the base of the adapter into `folder`."""
    (folder / BASE_FILE).write_text(json.dumps(vars(base), indent=2) + "\n")


def write_tensors(folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write the weights of the adapter."""
    save_file(dict(tensors), folder / ADAPTER_WEIGHTS_FILE, metadata={"format": "pt"})


def read_tensors(folder: Path, wanted: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights of the adapter, which must have exactly the names and shapes of `wanted`."""
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
            shapes = f"{tuple(tensors[name].shape)}. Expected {tuple(wanted[name].shape)}"
            raise CheckpointError(folder, f"{ADAPTER_WEIGHTS_FILE}: {name} has shape {shapes}")
    return tensors


class Adapter(Protocol):
    """An adapter on a network whose other weights are frozen."""

    @property
    def unmergeable_reason(self) -> str | None:
        """Reason why the adapter cannot be merged into the base weights; None if it can."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the tensors of the adapter on the CPU, by their saved names."""

    def assign(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Load `tensors` with the names and shapes of `tensors()`."""

    def write_config(self, folder: Path, base: BaseReference) -> None:
        """Write the configuration to `adapter_config.json` in the existing `folder`."""

    def merge_into_base(self) -> None:
        """Add the adapter to the base weights and remove its modules."""


ADAPTER_TYPES: Registry[Callable[[nn.Module, Path], Adapter]] = Registry("adapter type", "vla_bench.models.adapters")
"""Functions that attach an untrained adapter as described by `adapter_config.json` to a network, in place."""


def attach_saved_adapter(model: nn.Module, folder: Path) -> Adapter:
    """Attach modules for the adapter saved in `folder` to `model`, in place, without loading values.

    Raises `CheckpointError` if its type is unknown or does not fit the network.
    """
    config = read_adapter_config(folder)
    form = str(config.get("adapter_type") or config.get("peft_type", "(none)")).lower()
    if form not in ADAPTER_TYPES:
        known = ", ".join(ADAPTER_TYPES)
        raise CheckpointError(folder, f"{ADAPTER_CONFIG_FILE}: unknown adapter type {form!r}. Known: {known}")
    try:
        return ADAPTER_TYPES[form](model, folder)
    except (TypeError, ValueError) as error:
        raise CheckpointError(folder, f"{ADAPTER_CONFIG_FILE} does not fit the base: {error}") from error


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Return the content of `adapter_config.json`; raise `CheckpointError` if it is not a JSON object."""
    try:
        content = json.loads((folder / ADAPTER_CONFIG_FILE).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(folder, f"{ADAPTER_CONFIG_FILE} is malformed: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(folder, f"{ADAPTER_CONFIG_FILE} is malformed: it is not a JSON object")
    return content
