"""Goal predicates: facts about the world that decide success, progress, phases and the expert's plan.

A predicate is true or false of a `World`, the read-only view of object poses, contacts and joint positions that an
environment offers. A new predicate is one decorated function in a module here.
"""

from vla_bench.tasks.predicates.registry import BY_PRODUCTS, parameters, predicates

__all__ = ["BY_PRODUCTS", "parameters", "predicates"]
