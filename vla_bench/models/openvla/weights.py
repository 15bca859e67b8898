"""Load, save and digest the weights of a checkpoint folder: one safetensors file, or shards with an index."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from vla_bench.core.errors import CheckpointError
from vla_bench.models.openvla.config import OpenVLAConfig
from vla_bench.models.openvla.key_mapping import (
    PublishedTensor,
    Shape,
    has_our_names,
    is_unused,
    published_tensors,
    unmapped_tensors,
)
from vla_bench.models.openvla.network import OpenVLA

_SINGLE_FILE = "model.safetensors"
_SHARDS = "*.safetensors"
_SAMPLE = 4096  # bytes at both ends of a tensor


def weights_digest(folder: Path) -> str:
    """Return a SHA-256 of the weights in `folder`.

    For a single file it covers all bytes. For shards it covers their names, the names, types and shapes of all tensors,
    and both ends of each tensor: any training changes those, and 15 GB take a second. Raises `CheckpointError` without
    weights.
    """
    if (folder / _SINGLE_FILE).is_file():
        with (folder / _SINGLE_FILE).open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    shards = sorted(folder.glob(_SHARDS))
    if not shards:
        raise CheckpointError(folder, f"{_SINGLE_FILE} is missing, and there are no shards")
    digest = hashlib.sha256()
    for path in shards:
        digest.update(path.name.encode())
        with path.open("rb") as handle:
            for part in _samples(path, handle):
                digest.update(part)
    return digest.hexdigest()


def _samples(path: Path, handle: BinaryIO) -> list[bytes]:
    """Return the header of a safetensors file (8 bytes of length, then JSON) and both ends of each of its tensors."""
    length = int.from_bytes(handle.read(8), "little")
    header = handle.read(length)
    try:
        spans = [entry["data_offsets"] for name, entry in sorted(json.loads(header).items()) if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(path, f"its header is damaged: {error}") from error
    parts = [header]
    for start, end in spans:
        for position in (start, max(start, end - _SAMPLE)):
            handle.seek(8 + length + position)
            parts.append(handle.read(min(_SAMPLE, end - position)))
    return parts


WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
SHARD_BYTES = 5_000_000_000
PlaceParameter = Callable[[nn.Module, str, torch.Tensor], None]


@dataclass(frozen=True)
class StoredTensor:
    """Location of a tensor."""

    file: str  # in the checkpoint folder
    shape: Shape


def set_parameter(module: nn.Module, name: str, tensor: torch.Tensor) -> None:
    """Set the parameter `name` of `module` to `tensor`, without copying."""
    wants_gradient = module.get_parameter(name).requires_grad and tensor.is_floating_point()
    setattr(module, name, nn.Parameter(tensor, requires_grad=wants_gradient))


def load_weights(
    folder: Path,
    model: OpenVLA,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    place: PlaceParameter = set_parameter,
) -> None:
    """Load the weights in `folder` into `model`, which may be on the meta device, one tensor at a time.

    Names, shapes and completeness are checked before the first tensor is read; `CheckpointError` reports problems.
    `dtype` None keeps the data type of the embedding table in the file. `place` places each tensor.
    """
    files = tensor_files(folder)
    plan = _plan(folder, model, files)
    kind = dtype or _stored_dtype(folder, files)
    for wanted, published in plan.items():
        tensor = _read(folder, files[published].file, published)
        for name, part in zip(wanted.fills, wanted.split(tensor), strict=True):
            module, _, parameter = name.rpartition(".")
            copied = part.to(device=device, dtype=kind, copy=True, memory_format=torch.contiguous_format)
            place(model.get_submodule(module), parameter, copied)


def tensor_files(folder: Path) -> dict[str, StoredTensor]:
    """Return the file of each tensor in `folder`; raise `CheckpointError` for a missing or damaged file."""
    if (folder / WEIGHTS_FILE).is_file():
        return _stored(folder, WEIGHTS_FILE)
    if not (folder / INDEX_FILE).is_file():
        raise CheckpointError(folder, f"{WEIGHTS_FILE} is missing, and so is {INDEX_FILE} of a checkpoint in shards")
    try:
        files: dict[str, str] = json.loads((folder / INDEX_FILE).read_text())["weight_map"]
        shards = sorted(set(files.values()))
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(folder, f"{INDEX_FILE} is malformed: {error!r}") from error
    for shard in shards:
        if not (folder / shard).is_file():
            missing = sum(file == shard for file in files.values())
            raise CheckpointError(
                folder, f"the shard {shard} is missing, with {missing} tensors that {INDEX_FILE} lists"
            )
    held = {name: tensor for shard in shards for name, tensor in _stored(folder, shard).items()}
    for name in sorted(files.keys() ^ held.keys()):
        where = f"{files[name]} lacks the tensor {name}" if name in files else f"{held[name].file} has {name}"
        raise CheckpointError(folder, f"{INDEX_FILE} and the shards differ: {where}")
    return held


def unused_tensors(folder: Path, config: OpenVLAConfig) -> dict[str, StoredTensor]:
    """Return the tensors in `folder` that the network does not use, with their files."""
    return {name: tensor for name, tensor in tensor_files(folder).items() if is_unused(config, name)}


def save_weights(folder: Path, model: OpenVLA, *, published_folder: Path | None = None) -> None:
    """Write the weights of `model` under the published names, in shards above `SHARD_BYTES`.

    Tensors that the network does not use (the towers' last blocks and heads) are copied from `published_folder`.
    """
    shard: dict[str, torch.Tensor] = {}
    stored: list[list[str]] = []
    size = total = 0
    for name, tensor in _published(model, published_folder):
        if shard and size + tensor.nbytes > SHARD_BYTES:
            stored.append(_write_shard(folder, len(stored), shard))
            shard, size = {}, 0
        shard[name] = tensor
        size, total = size + tensor.nbytes, total + tensor.nbytes
    stored.append(_write_shard(folder, len(stored), shard))
    _name_shards(folder, stored, total)


def built_tensors(model: OpenVLA) -> dict[str, torch.Tensor]:
    """Return the tensors of `model` for a file, by our names: a tied output layer is stored once."""
    tied = model.config.text.tie_word_embeddings
    return {name: value for name, value in model.state_dict().items() if not (tied and "lm_head" in name)}


def _plan(folder: Path, model: OpenVLA, files: Mapping[str, StoredTensor]) -> dict[PublishedTensor, str]:
    """Return every tensor of the network with its name in the file; raise for missing and unknown tensors."""
    ours: dict[str, Shape] = {name: tuple(value.shape) for name, value in built_tensors(model).items()}
    old = has_our_names(files)
    wanted = unmapped_tensors(ours) if old else published_tensors(model.config, ours)
    plan = {}
    for tensor in wanted:
        name = next((name for name in tensor.names if name in files), None)
        if name is None:
            raise CheckpointError(folder, f"{_where(folder)} lacks the tensor {tensor.name}")
        if files[name].shape != tensor.shape:
            shapes = f"{files[name].shape}, but the configuration requires {tensor.shape}"
            raise CheckpointError(folder, f"{files[name].file}: {name} has shape {shapes}")
        plan[tensor] = name
    known = set(plan.values())
    unknown = sorted(name for name in files if name not in known and (old or not is_unused(model.config, name)))
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        problem = f"{files[unknown[0]].file} has an unknown tensor: {unknown[0]}{more}"
        raise CheckpointError(folder, problem)
    return plan


def _where(folder: Path) -> str:
    return WEIGHTS_FILE if (folder / WEIGHTS_FILE).is_file() else "the set of shards"


def _stored_dtype(folder: Path, files: Mapping[str, StoredTensor]) -> torch.dtype:
    name = "language_model.model.embed_tokens.weight"
    return _read(folder, files[name].file, name).dtype


def _stored(folder: Path, file: str) -> dict[str, StoredTensor]:
    try:
        with safe_open(folder / file, framework="pt") as handle:
            return {name: StoredTensor(file, tuple(handle.get_slice(name).get_shape())) for name in handle.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(folder, f"{file} is damaged: {error}") from error


def _read(folder: Path, file: str, name: str) -> torch.Tensor:
    """Return one tensor; the file is opened for each tensor, so that its pages do not stay in memory."""
    try:
        with safe_open(folder / file, framework="pt") as handle:
            return handle.get_tensor(name)  # type: ignore[no-any-return]
    except SafetensorError as error:
        raise CheckpointError(folder, f"{file} is damaged at the tensor {name}: {error}") from error


def _published(model: OpenVLA, published_folder: Path | None) -> Iterator[tuple[str, torch.Tensor]]:
    state = built_tensors(model)
    shapes: dict[str, Shape] = {name: tuple(value.shape) for name, value in state.items()}
    for tensor in published_tensors(model.config, shapes):
        joined = tensor.join(*(state[name] for name in tensor.takes))
        yield tensor.name, joined.detach().cpu().contiguous()
    if published_folder is not None:
        for name, stored in unused_tensors(published_folder, model.config).items():
            yield name, _read(published_folder, stored.file, name)


def _write_shard(folder: Path, number: int, tensors: Mapping[str, torch.Tensor]) -> list[str]:
    save_file(dict(tensors), folder / f".shard-{number}", metadata={"format": "pt"})
    return list(tensors)


def _name_shards(folder: Path, stored: list[list[str]], total: int) -> None:
    """Rename the written shards to their final names, which include their number, and write the index."""
    if len(stored) == 1:
        (folder / ".shard-0").rename(folder / WEIGHTS_FILE)
        return
    files: dict[str, str] = {}
    for number, names in enumerate(stored):
        file = f"model-{number + 1:05d}-of-{len(stored):05d}.safetensors"
        (folder / f".shard-{number}").rename(folder / file)
        files.update(dict.fromkeys(names, file))
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(files.items()))}
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n")
