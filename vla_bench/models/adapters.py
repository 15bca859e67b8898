"""LoRA adapters in PEFT's layout, tied to the base weights that they were trained on."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vla_bench.core.errors import CheckpointError
from vla_bench.models.normalization import STATISTICS_FILE, read_statistics, write_statistics
from vla_bench.models.openvla.checkpoint import Checkpoint, find_base, load_checkpoint, weights_digest

ADAPTER_CONFIG_FILE = "adapter_config.json"
ADAPTER_WEIGHTS_FILE = "adapter_model.safetensors"
BASE_FILE = "base.json"
ADAPTER_FILES = (ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, BASE_FILE, STATISTICS_FILE)


@dataclass(frozen=True)
class BaseReference:
    """Which weights an adapter belongs to."""

    name: str  # what `find_base` finds
    weights_sha256: str


def save_adapter(folder: Path, model: PeftModel, base: BaseReference, checkpoint: Checkpoint) -> None:
    """Write the adapter of `model`, its base and the statistics of `checkpoint` into the existing `folder`."""
    config = model.peft_config["default"]
    config.inference_mode, config.base_model_name_or_path = True, base.name
    config.save_pretrained(str(folder))
    save_file(_adapter_tensors(model), folder / ADAPTER_WEIGHTS_FILE, metadata={"format": "pt"})
    write_statistics(folder / STATISTICS_FILE, checkpoint.statistics)
    (folder / BASE_FILE).write_text(json.dumps(vars(base), indent=2) + "\n")


def read_base(folder: Path) -> BaseReference:
    """Return which base the adapter in `folder` needs. Raises `CheckpointError` naming what is missing."""
    for name in ADAPTER_FILES:
        if not (folder / name).is_file():
            raise CheckpointError(folder, f"{name} is missing" if folder.is_dir() else "no such folder")
    try:
        return BaseReference(**json.loads((folder / BASE_FILE).read_text()))
    except (json.JSONDecodeError, TypeError) as error:
        raise CheckpointError(folder, f"{BASE_FILE} is malformed: {error}") from error


def load_adapter(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """Merge the adapter in `folder` into the network of `checkpoint`, which is changed, and take over its statistics.

    Raises `CheckpointError` when the adapter is incomplete, or belongs to other base weights than those loaded.
    """
    base = read_base(folder)
    if checkpoint.folder is None or weights_digest(checkpoint.folder) != base.weights_sha256:
        problem = f"it was trained on other weights of {base.name!r} than those in {checkpoint.folder}"
        raise CheckpointError(folder, f"{problem}; load it with the base that it was made from, or make it again")
    config = LoraConfig.from_pretrained(str(folder))
    config.base_model_name_or_path = None  # checked above by content; PEFT would warn that a plain network has no name
    model = get_peft_model(checkpoint.model, config)
    set_peft_model_state_dict(model, _checked_tensors(folder, model))
    merged = model.merge_and_unload()
    return replace(checkpoint, model=merged.eval(), statistics=read_statistics(folder / STATISTICS_FILE), folder=None)


def load_finetuned(folder: Path, base: Path | None = None) -> Checkpoint:
    """Return what `finetune` wrote: a full checkpoint, or an adapter merged into `base` (default: found by name)."""
    if not (folder / ADAPTER_CONFIG_FILE).is_file():
        return load_checkpoint(folder)
    return load_adapter(load_checkpoint(base or find_base(read_base(folder).name)), folder)


def _adapter_tensors(model: PeftModel) -> dict[str, torch.Tensor]:
    tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _checked_tensors(folder: Path, model: PeftModel) -> dict[str, torch.Tensor]:
    try:
        tensors = load_file(folder / ADAPTER_WEIGHTS_FILE)
    except SafetensorError as error:
        raise CheckpointError(folder, f"{ADAPTER_WEIGHTS_FILE} is damaged: {error}") from error
    wanted = _adapter_tensors(model)
    for name in sorted(wanted.keys() | tensors.keys()):
        if name not in tensors:
            raise CheckpointError(folder, f"{ADAPTER_WEIGHTS_FILE} lacks the tensor {name}")
        if name not in wanted:
            raise CheckpointError(folder, f"{ADAPTER_WEIGHTS_FILE} has a tensor that does not fit the base: {name}")
        if tensors[name].shape != wanted[name].shape:
            shapes = f"{tuple(tensors[name].shape)}; expected {tuple(wanted[name].shape)}"
            raise CheckpointError(folder, f"{ADAPTER_WEIGHTS_FILE}: {name} has shape {shapes}")
    return tensors
