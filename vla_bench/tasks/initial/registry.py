"""What an initial relation is, and the registry of those that there are."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from vla_bench.core.registry import Registry
from vla_bench.tasks.initial.layout import Layout, Spot


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


initial_relations: Registry[InitialRelation] = Registry("initial relation", package="vla_bench.tasks.initial")
