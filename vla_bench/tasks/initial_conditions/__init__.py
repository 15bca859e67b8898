"""Initial relations: how a task states where objects are placed and how far joints are open at reset."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from vla_bench.core.registry import Registry
from vla_bench.tasks.initial_conditions.layout import Area, Footprint, Layout, Place, Spot
from vla_bench.tasks.task import Relation

# ~ What an initial relation is, and the registry of those that there are.


class InitialRelation(ABC):
    """A relation that may stand under `initial`. Its first argument is what it arranges, once at most."""

    parameters: ClassVar[tuple[str, ...]]  # what it speaks of; "region" is a scene's, all others are objects
    arranges_joint: ClassVar[bool] = False  # of a fixture or one of its parts; otherwise it says where an object stands


class Placing(InitialRelation):
    """A relation that says where an object stands."""

    @abstractmethod
    def draw(self, layout: Layout, generator: np.random.Generator, item: str, *others: str) -> Spot | None:
        """Propose a spot for `item`; none where the others stand so that there can be none."""

    @abstractmethod
    def holds(self, layout: Layout, item: str, *others: str, slack_m: float = 0.0) -> bool:
        """Whether `item` stands so; with `slack_m`, whether somebody could still say that it does."""


initial_relations: Registry[InitialRelation] = Registry(
    "initial relation", package="vla_bench.tasks.initial_conditions"
)


# ~ The order in which things can be placed.


def references(relation: Relation) -> tuple[str, ...]:
    """Return the objects by which the relation places its first."""
    named = zip(initial_relations[relation.name].parameters, relation.arguments, strict=True)
    return tuple(argument for number, (name, argument) in enumerate(named) if number and name != "region")


def in_order(relations: Sequence[Relation]) -> tuple[Relation, ...]:
    """Return the relations so that each comes after those that place what it refers to; otherwise as they are.

    Raises ValueError where things are placed by each other, or by a thing that nothing places.
    """
    waiting, done = list(relations), list[Relation]()
    while waiting:
        placed = {relation.arguments[0] for relation in done}
        ready = next((relation for relation in waiting if placed.issuperset(references(relation))), None)
        if ready is None:
            stuck = " and ".join(f"`{relation}`" for relation in waiting)
            missing = {name for relation in waiting for name in references(relation)} - placed
            raise ValueError(f"{stuck}: {', '.join(sorted(missing))} would have to be placed before")
        waiting.remove(ready)
        done.append(ready)
    return tuple(done)


# ~ What a task may say of its start: where things stand, and how far the joints of fixtures are open.
# ~
# ~ A new relation is one registered class in a module of this package. Directions are those of the `agentview`
# ~ camera's
# ~ image, which looks back at the robot: left is where y falls, in front is nearer to the camera, where x grows.

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
