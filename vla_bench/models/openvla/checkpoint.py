"""Load and save OpenVLA checkpoint folders in the published layout."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast
from transformers.models.llama.tokenization_llama import LlamaTokenizer

from vla_bench.core.errors import CheckpointError, UnknownNameError
from vla_bench.core.files import data_folder
from vla_bench.models.network_record import Conventions, NetworkRecord, read_record, write_record
from vla_bench.models.normalization import (
    STATISTICS_FILE,
    DatasetStatistics,
    parse_statistics,
    read_statistics,
    statistics_json,
    write_statistics,
)
from vla_bench.models.openvla.action_tokens import ActionTokenizer
from vla_bench.models.openvla.config import ModelConfigError, OpenVLAConfig
from vla_bench.models.openvla.config_file import config_from_json, config_to_json
from vla_bench.models.openvla.initialization import build_on_meta, compute_buffers, uninitialized_tensors
from vla_bench.models.openvla.network import OpenVLA
from vla_bench.models.openvla.processor import ImagePreparation, Processor
from vla_bench.models.openvla.quantization import Quantization, QuantizedPlacement
from vla_bench.models.openvla.weights import WEIGHTS_FILE, load_weights, save_weights, set_parameter, tensor_files

CONFIG_FILE = "config.json"
PREPROCESSOR_FILE = "preprocessor_config.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
Read = TypeVar("Read")
SENTENCEPIECE_FILE = "tokenizer.model"  # replaces tokenizer.json
CHECKPOINT_FILES = (CONFIG_FILE, WEIGHTS_FILE, PREPROCESSOR_FILE, *TOKENIZER_FILES, STATISTICS_FILE)


@dataclass(frozen=True)
class Checkpoint:
    """An OpenVLA network with its processor, statistics and configuration."""

    model: OpenVLA
    processor: Processor
    statistics: Mapping[str, DatasetStatistics]
    folder: Path | None = None  # folder of the loaded checkpoint
    published_folder: Path | None = None  # published folder from which a save copies tokenizer and unused tensors
    conventions: Conventions | None = None  # training inputs; None: not trained here

    @property
    def config(self) -> OpenVLAConfig:
        """Shape of the network."""
        return self.model.config

    @property
    def record(self) -> NetworkRecord | None:
        """Content of `network.json`; None for a network not trained here, which its card describes."""
        if self.conventions is None:
            return None
        config = self.config
        return NetworkRecord(
            "openvla", config.num_images, config.chunk_size, config.proprioception_dim, self.conventions
        )

    def learned(self, statistics: Mapping[str, DatasetStatistics], conventions: Conventions | None) -> "Checkpoint":
        """Return a checkpoint of the same network, without folder, with its training inputs."""
        return replace(self, statistics=statistics, folder=None, conventions=conventions)

    def write(self, folder: Path) -> None:
        """Write all files into the existing `folder`."""
        write_checkpoint_files(folder, self)

    @property
    def action_tokenizer(self) -> ActionTokenizer:
        """The action tokenizer."""
        return ActionTokenizer(self.config.vocab_end, self.config.n_action_bins)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` to `folder`, atomically; an existing folder is replaced."""
    with atomic_folder(folder) as temporary:
        write_checkpoint_files(temporary, checkpoint)


def write_checkpoint_files(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the files of `checkpoint` into the existing `folder`."""
    config = checkpoint.config
    published = {} if config.vision_backbone_id is None else {"norm_stats": statistics_json(checkpoint.statistics)}
    _write_json(folder / CONFIG_FILE, {**config_to_json(config), **published})
    _write_json(folder / PREPROCESSOR_FILE, checkpoint.processor.image_preparation.to_json())
    _write_tokenizer(folder, checkpoint)
    write_statistics(folder / STATISTICS_FILE, checkpoint.statistics)
    if checkpoint.record is not None:
        write_record(folder, checkpoint.record)
    save_weights(folder, checkpoint.model, published_folder=checkpoint.published_folder)


def load_checkpoint(
    folder: Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    quantise: Quantization | None = None,
) -> Checkpoint:
    """Return the checkpoint in `folder`: one of ours, or a published one (`openvla/openvla-7b` and its kind).

    Weights go to `device` one by one, so that memory never holds them twice; `dtype` None keeps the data type of the
    file. Raises `CheckpointError` with the invalid file or tensor.
    """
    if not folder.is_dir():
        raise CheckpointError(folder, "the folder does not exist")
    content = _read_json(folder, CONFIG_FILE)
    tensor_files(folder)  # report a missing shard first
    config = _naming_file(folder, CONFIG_FILE, lambda: config_from_json(content))
    settings = _read_json(folder, PREPROCESSOR_FILE)
    preparation = _naming_file(folder, PREPROCESSOR_FILE, lambda: ImagePreparation.from_json(settings, config))
    processor = Processor(config, _tokenizer(folder), preparation)
    statistics = _statistics(folder, content)
    model = build_on_meta(config)
    place = set_parameter if quantise is None else QuantizedPlacement(model, quantise, dtype)
    load_weights(folder, model, dtype=dtype, device=device, place=place)
    model.language_model.tie_weights()
    compute_buffers(model, device)
    empty = uninitialized_tensors(model)
    if empty:
        raise CheckpointError(folder, f"it has no values for {empty[0]} of the network")
    published_folder = None if config.vision_backbone_id is None else folder
    record = read_record(folder)
    conventions = None if record is None else record.conventions
    return Checkpoint(model.eval(), processor, statistics, folder, published_folder, conventions)


def find_base(name: str) -> Path:
    """Return the checkpoint folder `name`: a path, or a name under `baselines/`."""
    if Path(name).is_dir():
        return Path(name)
    bases = {folder.parent.name: folder for folder in data_folder("baselines").glob("*/base") if folder.is_dir()}
    if name not in bases:
        raise UnknownNameError("base checkpoint (a folder, or a name under baselines/)", name, bases)
    return bases[name]


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `folder`; rename it to `folder` on success, delete it on failure."""
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


def _write_tokenizer(folder: Path, checkpoint: Checkpoint) -> None:
    """Copy a published tokenizer unchanged, because older libraries cannot read newer files; otherwise write ours."""
    if checkpoint.published_folder is None:
        checkpoint.processor.tokenizer.save_pretrained(folder)
        return
    for name in (*TOKENIZER_FILES, SENTENCEPIECE_FILE, "special_tokens_map.json", "added_tokens.json"):
        if (checkpoint.published_folder / name).is_file():
            shutil.copyfile(checkpoint.published_folder / name, folder / name)


def _tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Return the tokenizer in `folder`, from local files only."""
    converted = (folder / SENTENCEPIECE_FILE).is_file() and not (folder / TOKENIZER_FILES[0]).is_file()
    for name in TOKENIZER_FILES[converted:]:
        if not (folder / name).is_file():
            raise CheckpointError(folder, f"{name} is missing")
    kind = LlamaTokenizer if converted else PreTrainedTokenizerFast
    try:
        tokenizer: PreTrainedTokenizerFast = kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # tokenizers raises plain exceptions
        raise CheckpointError(folder, f"its tokenizer cannot be read: {error}") from error
    if converted:  # sentencepiece files lack the rule that texts begin with the first token
        start = (str(tokenizer.bos_token), tokenizer.bos_token_id)
        template = TemplateProcessing(single=f"{start[0]} $A", special_tokens=[start])
        tokenizer.backend_tokenizer.post_processor = template
    return tokenizer


def _statistics(folder: Path, config: Mapping[str, Any]) -> Mapping[str, DatasetStatistics]:
    """Return the statistics of the file, or of the configuration, as in published bases."""
    if config.get("norm_stats") and not (folder / STATISTICS_FILE).is_file():
        return parse_statistics(config["norm_stats"], folder / CONFIG_FILE)
    return read_statistics(folder / STATISTICS_FILE)


def _read_json(folder: Path, name: str) -> Mapping[str, Any]:
    if not (folder / name).is_file():
        raise CheckpointError(folder, f"{name} is missing")
    try:
        content = json.loads((folder / name).read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(folder, f"{name}: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(folder, f"{name} is not a JSON object")
    return content


def _naming_file(folder: Path, name: str, read: Callable[[], Read]) -> Read:
    """Return the result of `read`; add the file name to configuration errors."""
    try:
        return read()
    except ModelConfigError as error:
        raise CheckpointError(folder, f"{name}: {str(error).removesuffix(chr(46))}") from error


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
