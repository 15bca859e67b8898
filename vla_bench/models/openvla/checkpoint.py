"""Checkpoint folders in the published layout: one file missing, misnamed or misshapen is an error that names it."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from vla_bench.core.errors import CheckpointError, UnknownNameError
from vla_bench.core.paths import data_folder
from vla_bench.models.normalization import STATISTICS_FILE, DatasetStatistics, read_statistics, write_statistics
from vla_bench.models.openvla.action_tokens import ActionTokenizer
from vla_bench.models.openvla.config import ModelConfigError, OpenVLAConfig
from vla_bench.models.openvla.network import OpenVLA
from vla_bench.models.openvla.processor import IMAGENET_MEAN, IMAGENET_STD, SIGLIP_MEAN, SIGLIP_STD, Processor

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
PREPROCESSOR_FILE = "preprocessor_config.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
CHECKPOINT_FILES = (CONFIG_FILE, WEIGHTS_FILE, PREPROCESSOR_FILE, *TOKENIZER_FILES, STATISTICS_FILE)


@dataclass(frozen=True)
class Checkpoint:
    """A network with everything that gives its inputs and outputs their meaning."""

    model: OpenVLA
    processor: Processor
    statistics: Mapping[str, DatasetStatistics]
    folder: Path | None = None  # where it was loaded from

    @property
    def config(self) -> OpenVLAConfig:
        """The network's shape."""
        return self.model.config

    @property
    def action_tokenizer(self) -> ActionTokenizer:
        """The translation of action tokens."""
        return ActionTokenizer(self.config.vocab_end, self.config.n_action_bins)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` to `folder`, which appears whole or not at all; an existing one is replaced."""
    with folder_written_whole(folder) as temporary:
        write_checkpoint_files(temporary, checkpoint)


def write_checkpoint_files(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the files of `checkpoint` into the existing `folder`."""
    config = checkpoint.config
    _write_json(folder / CONFIG_FILE, config.to_json())
    _write_json(folder / PREPROCESSOR_FILE, _preprocessor(config))
    checkpoint.processor.tokenizer.save_pretrained(folder)
    write_statistics(folder / STATISTICS_FILE, checkpoint.statistics)
    save_file(_tensors(checkpoint.model), folder / WEIGHTS_FILE, metadata={"format": "pt"})


def load_checkpoint(folder: Path) -> Checkpoint:
    """Return the checkpoint in `folder`. Raises `CheckpointError` naming the file or tensor at fault."""
    if not folder.is_dir():
        raise CheckpointError(folder, "no such folder")
    for name in CHECKPOINT_FILES:
        if not (folder / name).is_file():
            raise CheckpointError(folder, f"{name} is missing")
    try:
        config = OpenVLAConfig.from_json(json.loads((folder / CONFIG_FILE).read_text()))
    except (json.JSONDecodeError, ModelConfigError) as error:
        raise CheckpointError(folder, f"{CONFIG_FILE}: {error}") from error
    model = OpenVLA(config)
    load_weights(folder, model)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    return Checkpoint(model.eval(), Processor(config, tokenizer), read_statistics(folder / STATISTICS_FILE), folder)


def load_weights(folder: Path, model: OpenVLA) -> None:
    """Fill `model` from the weights in `folder`; every tensor must be there, no other, all of the right shape."""
    try:
        tensors = load_file(folder / WEIGHTS_FILE)
    except SafetensorError as error:
        raise CheckpointError(folder, f"{WEIGHTS_FILE} is damaged: {error}") from error
    wanted = _tensors(model)
    for name, tensor in wanted.items():
        if name not in tensors:
            raise CheckpointError(folder, f"{WEIGHTS_FILE} lacks the tensor {name}")
        if tensors[name].shape != tensor.shape:
            shapes = f"{tuple(tensors[name].shape)}, but the configuration makes it {tuple(tensor.shape)}"
            raise CheckpointError(folder, f"{WEIGHTS_FILE}: {name} has shape {shapes}")
    unexpected = sorted(set(tensors) - set(wanted))
    if unexpected:
        raise CheckpointError(folder, f"{WEIGHTS_FILE} has a tensor that the network does not know: {unexpected[0]}")
    model.load_state_dict(tensors, strict=False)


def find_base(name: str) -> Path:
    """Return the checkpoint folder called `name`: a path, or one of those under `baselines/`."""
    if Path(name).is_dir():
        return Path(name)
    bases = {folder.parent.name: folder for folder in data_folder("baselines").glob("*/base") if folder.is_dir()}
    if name not in bases:
        raise UnknownNameError("base checkpoint (a folder, or a name under baselines/)", name, bases)
    return bases[name]


@contextmanager
def folder_written_whole(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`; put it in its place on success, delete it on failure."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    previous = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    temporary.mkdir()
    try:
        yield temporary
        if folder.exists():
            folder.rename(previous)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(previous, ignore_errors=True)


def _tensors(model: OpenVLA) -> dict[str, torch.Tensor]:
    tied = model.config.text.tie_word_embeddings
    state = model.state_dict()
    return {
        name: value.detach().cpu().contiguous() for name, value in state.items() if not (tied and "lm_head" in name)
    }


def _preprocessor(config: OpenVLAConfig) -> dict[str, Any]:
    size = [3, config.image_size, config.image_size]
    return {
        "image_processor_type": "PrismaticImageProcessor",
        "processor_class": "PrismaticProcessor",
        "image_resize_strategy": "resize-naive",
        "use_fused_vision_backbone": True,
        "input_sizes": [size, size],
        "interpolations": ["bicubic", "bicubic"],
        "means": [IMAGENET_MEAN, SIGLIP_MEAN],
        "stds": [IMAGENET_STD, SIGLIP_STD],
    }


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
