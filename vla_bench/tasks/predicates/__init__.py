"""Goal predicates: facts about the world that decide success, progress, phases and the expert's plan."""

import inspect
from collections.abc import Callable

from vla_bench.core.registry import Registry

# ~ The registry of goal predicates.

Predicate = Callable[..., bool]
predicates: Registry[Predicate] = Registry("predicate", package="vla_bench.tasks.predicates")

BY_PRODUCTS = frozenset({"released"})  # no aims of their own: true from the start, and brought about by other goals


def parameters(name: str) -> tuple[str, ...]:
    """Return what the predicate speaks of, such as ("item", "support")."""
    return tuple(inspect.signature(predicates[name]).parameters)[1:]  # the first is the world


# ~ Goal predicates: facts about the world that decide success, progress, phases and the expert's plan.
# ~
# ~ A predicate is true or false of a `World`, the read-only view of object poses, contacts and joint positions that
# ~ an
# ~ environment offers. A new predicate is one decorated function in a module here.

__all__ = ["BY_PRODUCTS", "parameters", "predicates"]
