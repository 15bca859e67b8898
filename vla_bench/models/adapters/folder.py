"""The files of an adapter's folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vla_bench.core.errors import CheckpointError
from vla_bench.models.networks.record import RECORD_FILE
from vla_bench.models.normalization import STATISTICS_FILE

ADAPTER_CONFIG_FILE = "adapter_config.json"
ADAPTER_WEIGHTS_FILE = "adapter_model.safetensors"
BASE_FILE = "base.json"
ADAPTER_FILES = (ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, BASE_FILE, STATISTICS_FILE)
FILES_OF_SOME = (RECORD_FILE,)  # where the base does not say which network the adapter sits on


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
