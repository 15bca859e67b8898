"""Policy cards (TOML files with the conventions of a policy), and the registry of policy kinds.

A new kind is one new module in `vla_bench/policies/`.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.files import data_folder
from vla_bench.core.registry import Registry
from vla_bench.models.normalization import STATISTICS_FILE, read_statistics
from vla_bench.policies.chunking import OpenLoop, RecedingHorizon, TemporalEnsemble
from vla_bench.policies.policy import Policy

Card = TypeVar("Card", bound="PolicyCard")

_SAMPLED_BYTES = 1 << 20  # bytes read from both ends of a large file
_READ_WHOLE_BYTES = 64 << 20


class OpenLoopExecution(BaseModel):
    """Execute the first `steps` actions of each chunk, at most all of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    execution: Literal["open_loop"]
    steps: Annotated[int, Field(ge=1)]

    def wrapped(self, policy: Policy) -> Policy:
        """Return `policy`, wrapped with this execution."""
        return OpenLoop(policy, self.steps)

    def problem(self, predicted: int) -> str | None:
        """Return the conflict with chunks of `predicted` actions, or ""."""
        fits = self.steps <= predicted
        return None if fits else f"the network predicts {predicted} actions, the card executes {self.steps}"


class RecedingHorizonExecution(BaseModel):
    """Execute the first `steps` actions of each chunk, fewer than are predicted, then predict again."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    execution: Literal["receding_horizon"]
    steps: Annotated[int, Field(ge=1)]

    def wrapped(self, policy: Policy) -> Policy:
        """Return `policy`, wrapped with this execution."""
        return RecedingHorizon(policy, self.steps)

    def problem(self, predicted: int) -> str | None:
        """Return the conflict with chunks of `predicted` actions, or ""."""
        fits = self.steps < predicted
        return None if fits else f"a receding horizon executes fewer than the {predicted} predicted, not {self.steps}"


class TemporalEnsembleExecution(BaseModel):
    """Execute the weighted mean of all chunks that cover a step."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    execution: Literal["temporal_ensemble"]
    decay: Annotated[float, Field(ge=0)] = 0.01  # per step: the newest of n predictions has weight exp(-decay (n - 1))

    def wrapped(self, policy: Policy) -> Policy:
        """Return `policy`, wrapped with this execution."""
        return TemporalEnsemble(policy, self.decay)

    def problem(self, predicted: int) -> str | None:
        """Return "": an ensemble accepts chunks of any length."""
        return None


ChunkExecution = Annotated[
    OpenLoopExecution | RecedingHorizonExecution | TemporalEnsembleExecution, Field(discriminator="execution")
]


class PolicyCard(BaseModel):
    """Fields of every card; a policy kind adds its own fields in a subclass."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: str
    description: Annotated[str, Field(min_length=3)]
    chunk: ChunkExecution | None = None  # None: execute every predicted action
    robot: str | None = "panda"  # robot of the training data; None: several

    def chunk_problems(self, predicted: int) -> list[str]:
        """Return the conflict of the chunk execution with chunks of `predicted` actions, or ""."""
        problem = None if self.chunk is None else self.chunk.problem(predicted)
        return [] if problem is None else [problem]

    def with_checkpoint(self, checkpoint: Path) -> Self:
        """Return this card with another checkpoint."""
        raise VlaBenchError(f"A policy of kind {self.kind!r} has no network. Omit --checkpoint {checkpoint}.")

    def checkpoints(self, folder: Path) -> dict[str, Path]:
        """Return the checkpoint folders that the policy reads, by field; `folder` is the folder of the card."""
        return {}

    def unnormalization_keys(self, folder: Path) -> tuple[str, ...]:
        """Return the entries of the checkpoint statistics; empty without such a file."""
        files = [path / STATISTICS_FILE for path in self.checkpoints(folder).values()]
        return tuple(dict.fromkeys(key for file in files if file.is_file() for key in read_statistics(file)))


def find_file(name: Path, folder: Path) -> Path:
    """Return the path of the file or folder `name` of a card in `folder`.

    A relative name is searched in the folder of the card, the working folder and the package data. If none exists, the
    path in the working folder is returned.
    """
    candidates = (folder / name, Path.cwd() / name, data_folder("baselines").parent / name)
    return next((path for path in candidates if path.exists()), Path.cwd() / name)


def fingerprint(checkpoint: Path) -> str:
    """Return a short digest of a checkpoint, a file or a folder: names and contents of its files.

    Of files above 64 MiB only size and both ends count, so that a 15 GB checkpoint is identified in a moment.
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


@dataclass(frozen=True)
class PolicyKind(Generic[Card]):
    """Card class and builder of one policy kind."""

    card_type: type[Card]
    build: Callable[[Card, Path], Policy]  # arguments: card and its folder


policy_kinds: Registry[PolicyKind[Any]] = Registry("policy kind", package="vla_bench.policies")


def policy_kind(name: str, card_type: type[Card]) -> Callable[[Callable[[Card, Path], Policy]], PolicyKind[Card]]:
    """Return a decorator that registers a builder of policies for cards of kind `name`."""

    def register(build: Callable[[Card, Path], Policy]) -> PolicyKind[Card]:
        kind = PolicyKind(card_type, build)
        policy_kinds.register(kind, name=name)
        return kind

    return register
