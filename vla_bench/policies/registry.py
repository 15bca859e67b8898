"""The kinds of policy that a card can name. A new kind is one new module in `vla_bench/policies/kinds/`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from vla_bench.core.registry import Registry
from vla_bench.policies.cards import Card
from vla_bench.policies.policy import Policy


@dataclass(frozen=True)
class PolicyKind(Generic[Card]):
    """How cards of one kind are read and built."""

    card_type: type[Card]
    build: Callable[[Card, Path], Policy]  # the card and the folder it lies in


policy_kinds: Registry[PolicyKind[Any]] = Registry("policy kind", package="vla_bench.policies.kinds")


def policy_kind(name: str, card_type: type[Card]) -> Callable[[Callable[[Card, Path], Policy]], PolicyKind[Card]]:
    """Return a decorator that registers a builder of policies for cards of kind `name`."""

    def register(build: Callable[[Card, Path], Policy]) -> PolicyKind[Card]:
        kind = PolicyKind(card_type, build)
        policy_kinds.register(kind, name=name)
        return kind

    return register
