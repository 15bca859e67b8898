"""Task definition: instruction, objects, initial relations, goals and success rule."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from vla_bench.core.types import World
from vla_bench.tasks.predicates import BY_PRODUCTS, predicates

_CALL = re.compile(r"^\s*(\w+)\s*\(\s*([\w\s,]*)\)\s*$")


@dataclass(frozen=True)
class Relation:
    """A named relation between named objects, such as `in_region(red_cube, workspace)`."""

    name: str
    arguments: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Relation":
        """Read `name(argument, ...)`; raise ValueError otherwise."""
        match = _CALL.match(text)
        if match is None:
            raise ValueError(f"{text!r} is not of the form `name(argument, ...)`")
        return cls(match[1], tuple(argument.strip() for argument in match[2].split(",") if argument.strip()))

    def __str__(self) -> str:
        return f"{self.name}({', '.join(self.arguments)})"


@dataclass(frozen=True)
class Goal(Relation):
    """A predicate of the world applied to named objects, such as `on(target, plate)`."""

    def holds(self, world: World) -> bool:
        """Return whether the goal is met in `world`."""
        return predicates[self.name](world, *self.arguments)


@dataclass(frozen=True)
class Task:
    """One task of a suite: together with an index and a seed it decides an episode."""

    suite: str
    name: str
    engine: str  # simulation engine that builds the scene
    scene: str
    instruction: str
    paraphrases: tuple[str, ...]
    objects: Mapping[str, str]  # name in this task -> asset
    initial: tuple[Relation, ...]
    goal: tuple[Goal, ...]  # all must hold
    must_not: tuple[Goal, ...]  # any of them fails the episode
    horizon: int  # control steps
    wait_steps: int  # steps without motion before the policy starts, while objects settle
    success_steps: int  # consecutive steps for which the goal must hold
    engine_options: Mapping[str, object] = field(default_factory=dict)
    ordered: bool = False  # whether the aims must be reached in the order of `goal`; see `progress.py`

    @property
    def id(self) -> str:
        """`suite.name`."""
        return f"{self.suite}.{self.name}"

    @property
    def aims(self) -> tuple[Goal, ...]:
        """The goals without by-products, in order; the by-products if there are no others."""
        return tuple(goal for goal in self.goal if goal.name not in BY_PRODUCTS) or self.goal

    def by_products(self, aim: Goal) -> tuple[Goal, ...]:
        """Return the by-products of an aim, such as the release of its item."""
        others = (goal for goal in self.goal if goal not in self.aims)
        return tuple(goal for goal in others if goal.arguments[0] == aim.arguments[0])

    def progress(self, world: World) -> float:
        """Return the fraction of goals that hold; by-products count only once their aim holds."""
        shares = []
        for aim in self.aims:
            parts = (aim, *self.by_products(aim))
            met = sum(part.holds(world) for part in parts) if aim.holds(world) else 0
            shares.append(met / len(parts))
        return sum(shares) / len(shares)

    def violated(self, world: World) -> bool:
        """Return whether a forbidden event happened."""
        return any(goal.holds(world) for goal in self.must_not)
