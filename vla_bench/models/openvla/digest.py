"""What tells the weights of one checkpoint from those of another, cheaply where they are many gigabytes."""

import hashlib
import json
from pathlib import Path
from typing import BinaryIO

from vla_bench.core.errors import CheckpointError

_SINGLE_FILE = "model.safetensors"
_SHARDS = "*.safetensors"
_SAMPLE = 4096  # bytes at either end of a tensor


def weights_digest(folder: Path) -> str:
    """Return a SHA-256 of the weights in `folder`.

    Of a single file it is that of all its bytes. Of shards it covers their names, the names, types and shapes of all
    tensors, and both ends of each tensor: any training changes those, and 15 GB are told apart in a second. Raises
    `CheckpointError` where there are no weights.
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
