"""Goal predicates: facts about the world that decide success, progress, phases and the expert's plan.

A predicate is true or false of a `World`, the read-only view of object poses, contacts and joint positions that an
environment offers. A new predicate is one decorated function in a module of this package.
"""

import inspect
from collections.abc import Callable

from vla_bench.core.registry import Registry

Predicate = Callable[..., bool]
predicates: Registry[Predicate] = Registry("predicate", package="vla_bench.tasks.predicates")

BY_PRODUCTS = frozenset({"released"})  # true from the start or caused by other goals, so not aims by themselves


def parameters(name: str) -> tuple[str, ...]:
    """Return the argument names of the predicate, such as ("item", "support")."""
    return tuple(inspect.signature(predicates[name]).parameters)[1:]  # without the world


__all__ = ["BY_PRODUCTS", "parameters", "predicates"]
