"""Policy cards: one TOML file that says who acts and in which conventions."""

import hashlib
import json
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vla_bench.core.errors import ConfigurationError, VlaBenchError
from vla_bench.core.paths import data_folder

Card = TypeVar("Card", bound="PolicyCard")
Table = TypeVar("Table", bound=BaseModel)

_SAMPLED_BYTES = 1 << 20  # of each end of a file too large to be read whole
_READ_WHOLE_BYTES = 64 << 20


class OpenLoopExecution(BaseModel):
    """Execute the first `steps` actions of each chunk."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    execution: Literal["open_loop"]
    steps: Annotated[int, Field(ge=1)]


class TemporalEnsembleExecution(BaseModel):
    """Execute the weighted mean of all chunks that cover a step."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    execution: Literal["temporal_ensemble"]
    decay: Annotated[float, Field(ge=0)] = 0.01


ChunkExecution = Annotated[OpenLoopExecution | TemporalEnsembleExecution, Field(discriminator="execution")]


class PolicyCard(BaseModel):
    """What every card says; a kind of policy adds its own fields in a subclass."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: str
    description: Annotated[str, Field(min_length=3)]
    chunk: ChunkExecution | None = None  # None: execute every predicted action

    def with_checkpoint(self, checkpoint: Path) -> Self:
        """Return this card with another checkpoint in place of its own."""
        raise VlaBenchError(f"A policy of kind {self.kind!r} has no network: leave out --checkpoint {checkpoint}.")

    def checkpoints(self, folder: Path) -> dict[str, Path]:
        """Return the checkpoint folders that the policy reads, by field; `folder` is where the card lies."""
        return {}


def read_table(path: Path) -> dict[str, Any]:
    """Return the content of a card's file; raise `ConfigurationError` when it is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(path, "(whole file)", f"is not valid TOML: {error}") from None


def parse_card(path: Path, table: dict[str, Any], card_type: type[Table]) -> Table:
    """Return `table` as a card; raise `ConfigurationError` naming file, field and what is expected."""
    try:
        return card_type.model_validate(table)
    except ValidationError as error:
        raise ConfigurationError(path, *_first_problem(error, card_type)) from None


def find_file(name: Path, folder: Path) -> Path:
    """Return where the file or folder `name` of a card in `folder` lies.

    A relative name counts from the card's folder, else from the working folder, else from the package's data.
    Where there is none, the path from the working folder is returned.
    """
    candidates = (folder / name, Path.cwd() / name, data_folder("baselines").parent / name)
    return next((path for path in candidates if path.exists()), Path.cwd() / name)


def fingerprint(checkpoint: Path) -> str:
    """Return a short digest of a checkpoint, a file or a folder: names and contents of its files.

    Of files above 64 MiB only size and both ends count, so that a 15 GB checkpoint is told apart in a moment.
    """
    digest = hashlib.sha256()
    files = [checkpoint] if checkpoint.is_file() else [path for path in checkpoint.rglob("*") if path.is_file()]
    for path in sorted(path for path in files if not path.name.startswith(".")):
        digest.update(json.dumps([path.relative_to(checkpoint).as_posix(), path.stat().st_size]).encode())
        digest.update(_content(path))
    return digest.hexdigest()[:16]


def _content(path: Path) -> bytes:
    size = path.stat().st_size
    if size <= _READ_WHOLE_BYTES:
        return path.read_bytes()
    with path.open("rb") as handle:
        start = handle.read(_SAMPLED_BYTES)
        handle.seek(size - _SAMPLED_BYTES)
        return start + handle.read()


def _first_problem(error: ValidationError, card_type: type[BaseModel]) -> tuple[str, str, str]:
    details = error.errors()[0]
    field = ".".join(str(part) for part in details["loc"]) or "(whole file)"
    if details["type"] == "missing":
        return field, "is missing", _expected(card_type, str(details["loc"][0]))
    if details["type"] != "extra_forbidden":
        return field, f"{details['input']!r}: {details['msg']}", _expected(card_type, str(details["loc"][0]))
    if len(details["loc"]) > 1:
        return field, "is not a known field", ""
    names = list(card_type.model_fields)
    near = get_close_matches(field, names, n=1)
    return field, "is not a known field", f"{near[0]!r}" if near else f"one of {', '.join(names)}"


def _expected(card_type: type[BaseModel], field: str) -> str:
    if field not in card_type.model_fields:
        return ""
    annotation = card_type.model_json_schema()["properties"][field]
    values = annotation.get("enum") or [annotation["const"]] if "const" in annotation or "enum" in annotation else []
    return f"one of {', '.join(map(repr, values))}" if values else str(annotation.get("type", ""))
