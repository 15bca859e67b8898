"""What a mistake proposes, and to whom."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo

from vla_bench.core.registry import Registry
from vla_bench.core.types import ProprioceptionField
from vla_bench.policies.cards import PolicyCard
from vla_bench.policies.policy import Policy, PolicyRequirements

Wrapping = Callable[[Policy], Policy]


@dataclass(frozen=True)
class Patient:
    """The policy under examination, as far as a mistake needs to know it."""

    requirements: PolicyRequirements
    fields: tuple[ProprioceptionField, ...]  # what the environments send
    card: PolicyCard | None = None  # None: a user's own class
    folder: Path = Path()  # where the card lies

    def states(self, field: str) -> bool:
        """Whether the card has the field."""
        return field in self._fields()

    def value(self, field: str) -> Any:
        """Return what the card says."""
        return getattr(self.card, field)

    def choices(self, field: str) -> tuple[Any, ...]:
        """Return what else the card could say, where its type lists all that it may say."""
        if not self.states(field):
            return ()
        annotation = self._fields()[field].annotation
        return tuple(choice for choice in get_args(annotation) if choice != self.value(field))

    def _fields(self) -> Mapping[str, FieldInfo]:
        return {} if self.card is None else type(self.card).model_fields


@dataclass(frozen=True, eq=False)
class Proposal:
    """One change, to the card or around the policy."""

    fix: str  # what to do, if it helps: a line for the card, or a sentence
    card_changes: tuple[tuple[str, Any], ...] = ()
    wrapping: Wrapping | None = None

    @classmethod
    def of_card(cls, field: str, value: Any) -> "Proposal":
        """Return the change of one field."""
        return cls(f"{field} = {_toml(value)}", card_changes=((field, value),))


Mistake = Callable[[Patient], Iterable[Proposal]]
mistakes: Registry[Mistake] = Registry("convention mistake", package="vla_bench.evaluation.doctor.mistakes")


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)
