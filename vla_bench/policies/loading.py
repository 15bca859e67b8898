"""Find and load policies by name, card path or factory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from vla_bench.core.configuration import read_toml, validated
from vla_bench.core.errors import CheckpointError, ConfigurationError, UnknownNameError, VlaBenchError
from vla_bench.core.files import data_folder
from vla_bench.policies.cards import PolicyCard, fingerprint, policy_kinds
from vla_bench.policies.policy import Policy
from vla_bench.policies.user import code_hash, make_user_policy
from vla_bench.policies.wrappers import ExitGuard, exits_as_errors


class PolicySource(Protocol):
    """A policy that was found but is not loaded yet."""

    @property
    def name(self) -> str:
        """The name in tables."""

    def describe(self) -> dict[str, Any]:
        """Return everything that decides the actions of the policy, as plain data."""

    def code_hash(self) -> str:
        """Return a digest of the code of a user policy; empty for packaged policies."""

    def load(self) -> Policy:
        """Load the checkpoint and return the policy, guarded against exits of the program."""


@dataclass(frozen=True)
class CardSource:
    """A policy described by a card."""

    path: Path
    card: PolicyCard  # as in the file
    checkpoint: Path | None = None  # instead of the checkpoint of the card

    @property
    def name(self) -> str:
        """The file name of the card without `.toml`."""
        return self.path.stem

    def describe(self) -> dict[str, Any]:
        """Return the card as in its file, and a fingerprint of each existing checkpoint."""
        checkpoints = self.resolved_card().checkpoints(self.path.parent)
        fingerprints = {field: fingerprint(path) for field, path in checkpoints.items() if path.exists()}
        return {**self.card.model_dump(mode="json"), "fingerprints": fingerprints}

    def code_hash(self) -> str:
        """Return "": version and commit identify the code."""
        return ""

    def load(self) -> Policy:
        """Build the policy and wrap it with the chunk execution of the card."""
        return self.build(self.resolved_card())

    def build(self, card: PolicyCard) -> Policy:
        """Build the policy of another card in the same folder."""
        with exits_as_errors(self.name, "loading"):
            policy = policy_kinds[card.kind].build(card, self.path.parent)
        return ExitGuard(policy if card.chunk is None else card.chunk.wrapped(policy), self.name)

    def resolved_card(self) -> PolicyCard:
        """Return the card, with the given checkpoint."""
        return self.card if self.checkpoint is None else self.card.with_checkpoint(self.checkpoint.resolve())


@dataclass(frozen=True)
class FactorySource:
    """A policy made by a user-defined function or class."""

    name: str
    checkpoint: Path | None

    def describe(self) -> dict[str, Any]:
        """Return the factory's name and a fingerprint of the checkpoint, if one was given."""
        fingerprints = {} if self.checkpoint is None else {"checkpoint": fingerprint(self.checkpoint)}
        return {"kind": "factory", "factory": self.name, "fingerprints": fingerprints}

    def code_hash(self) -> str:
        """Return a digest of the module of the factory and of its imports from the same folder."""
        return code_hash(self.name.partition(":")[0])

    def load(self) -> Policy:
        """Import and call the factory."""
        return ExitGuard(make_user_policy(self.name, self.checkpoint), self.name)


def policy_names() -> tuple[str, ...]:
    """Return the names of the cards in the `policies` folder."""
    return tuple(sorted(_cards()))


def policy_descriptions() -> dict[str, str]:
    """Return name and description of each card."""
    return {name: _read_card(path).description for name, path in sorted(_cards().items())}


def find_policy(name_or_path: str, checkpoint: Path | None = None) -> PolicySource:
    """Find a policy by card name, path to a card or `package.module:factory`; raise a `VlaBenchError` otherwise."""
    if checkpoint is not None and not checkpoint.exists():
        raise CheckpointError(checkpoint, "the folder does not exist. `vla-bench finetune` creates one")
    if ":" in name_or_path:
        return FactorySource(name_or_path, checkpoint)
    path = _card_path(name_or_path)
    card = _read_card(path)
    if checkpoint is not None:
        card.with_checkpoint(checkpoint)  # raises for an invalid checkpoint
    return CardSource(path, card, checkpoint)


def load_policy(name_or_path: str, checkpoint: Path | None = None) -> Policy:
    """Return the policy that `find_policy` finds, loaded."""
    return find_policy(name_or_path, checkpoint).load()


class _Kind(BaseModel):
    kind: str


def _cards() -> dict[str, Path]:
    return {path.stem: path for path in data_folder("policies").glob("*.toml")}


def _card_path(name_or_path: str) -> Path:
    if not name_or_path.endswith(".toml"):
        if name_or_path.endswith(".py"):
            module = Path(name_or_path).stem
            raise VlaBenchError(f"{name_or_path} is a script. Name its factory, as in {module}:make.")
        if name_or_path not in _cards():
            raise UnknownNameError("policy", name_or_path, _cards())
        return _cards()[name_or_path]
    path = Path(name_or_path)
    if not path.is_file():
        raise VlaBenchError(f"No policy card {path}. Known policies: {', '.join(policy_names())}.")
    return path.resolve()


def _read_card(path: Path) -> PolicyCard:
    table = read_toml(path)
    kind = validated(_Kind, table, path).kind
    if kind not in policy_kinds:
        raise ConfigurationError(path, "kind", f"{kind!r} is not a kind of policy", f"one of {', '.join(policy_kinds)}")
    card_type: type[PolicyCard] = policy_kinds[kind].card_type
    return validated(card_type, table, path)
