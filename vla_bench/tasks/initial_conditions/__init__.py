"""Initial relations: how a task states where objects are placed and how far joints are open at reset.

A new relation is one registered class in a module of this package. Directions are those of the `agentview` image,
whose camera looks back at the robot: y decreases to the left, x grows to the front (towards the camera).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from vla_bench.core.registry import Registry
from vla_bench.tasks.initial_conditions.layout import Area, Footprint, Layout, Place, Spot
from vla_bench.tasks.task import Relation


class InitialRelation(ABC):
    """A relation of the list `initial` of a task. Its first argument is the arranged object, at most once per task."""

    # Kinds of its arguments: "region" is a region of the scene, all others are objects.
    parameters: ClassVar[tuple[str, ...]]
    # Whether it sets the joint position of a fixture, or of one of its parts, instead of placing an object.
    arranges_joint: ClassVar[bool] = False


class Placing(InitialRelation):
    """A relation that places an object."""

    @abstractmethod
    def draw(self, layout: Layout, generator: np.random.Generator, item: str, *others: str) -> Spot | None:
        """Propose a spot for `item`, or None if the other objects leave none."""

    @abstractmethod
    def holds(self, layout: Layout, item: str, *others: str, slack_m: float = 0.0) -> bool:
        """Return whether the relation holds for `item`; with `slack_m`, whether it could still be described so."""


initial_relations: Registry[InitialRelation] = Registry(
    "initial relation", package="vla_bench.tasks.initial_conditions"
)


def references(relation: Relation) -> tuple[str, ...]:
    """Return the objects that the placement refers to."""
    named = zip(initial_relations[relation.name].parameters, relation.arguments, strict=True)
    return tuple(argument for number, (name, argument) in enumerate(named) if number and name != "region")


def in_order(relations: Sequence[Relation]) -> tuple[Relation, ...]:
    """Return the relations sorted so that each follows those that place its references; otherwise the order is kept.

    Raises ValueError for circular references and for references that nothing places.
    """
    waiting, done = list(relations), list[Relation]()
    while waiting:
        placed = {relation.arguments[0] for relation in done}
        ready = next((relation for relation in waiting if placed.issuperset(references(relation))), None)
        if ready is None:
            stuck = " and ".join(f"`{relation}`" for relation in waiting)
            missing = {name for relation in waiting for name in references(relation)} - placed
            raise ValueError(f"{stuck}: {', '.join(sorted(missing))} must be placed first")
        waiting.remove(ready)
        done.append(ready)
    return tuple(done)


__all__ = [
    "Area",
    "Footprint",
    "InitialRelation",
    "Layout",
    "Place",
    "Placing",
    "Spot",
    "in_order",
    "initial_relations",
]
