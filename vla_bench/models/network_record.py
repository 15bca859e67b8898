"""The file `network.json` of a checkpoint: kind of network and the conventions of its training data."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vla_bench.core.errors import CheckpointError

RECORD_FILE = "network.json"


@dataclass(frozen=True)
class Conventions:
    """Training inputs of a network: upright images, grippers -1 open and 1 closed."""

    cameras: tuple[str, ...]  # in the order of the images of the network
    image_size: int  # pixels, square
    proprioception: tuple[str, ...]  # names of fields, in order
    robot: str | None = "panda"  # robot of the actions; None if unknown or several


@dataclass(frozen=True)
class NetworkRecord:
    """The content of `network.json`."""

    kind: str  # a name in `NETWORKS`
    num_images: int
    chunk_size: int
    proprioception_dim: int
    conventions: Conventions | None = None  # None: it was not trained here


def write_record(folder: Path, record: NetworkRecord) -> None:
    """Write `network.json`."""
    (folder / RECORD_FILE).write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")


def read_record(folder: Path) -> NetworkRecord | None:
    """Return the content of `network.json`, or None without the file; raise `CheckpointError` if it is damaged."""
    if not (folder / RECORD_FILE).is_file():
        return None
    try:
        content = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
        shown = content.pop("conventions")
        return NetworkRecord(**content, conventions=None if shown is None else _conventions(shown))
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(folder, f"{RECORD_FILE} is malformed: {error!r}") from error


def _conventions(content: Mapping[str, Any]) -> Conventions:
    cameras, fields = tuple(content["cameras"]), tuple(content["proprioception"])
    return Conventions(cameras, int(content["image_size"]), fields, content.get("robot", "panda"))
