"""The registry of goal predicates."""

import inspect
from collections.abc import Callable

from vla_bench.core.registry import Registry

Predicate = Callable[..., bool]
predicates: Registry[Predicate] = Registry("predicate", package="vla_bench.tasks.predicates")

BY_PRODUCTS = frozenset({"released"})  # no aims of their own: true from the start, and brought about by other goals


def parameters(name: str) -> tuple[str, ...]:
    """Return what the predicate speaks of, such as ("item", "support")."""
    return tuple(inspect.signature(predicates[name]).parameters)[1:]  # the first is the world
