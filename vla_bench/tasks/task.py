"""A task: what the policy is told, what stands in the scene, and when it has succeeded."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from vla_bench.core.types import World
from vla_bench.tasks.predicates import BY_PRODUCTS, predicates

_CALL = re.compile(r"^\s*(\w+)\s*\(\s*([\w\s,]*)\)\s*$")


@dataclass(frozen=True)
class Relation:
    """A named relation between named things, such as `in_region(red_cube, workspace)`."""

    name: str
    arguments: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Relation":
        """Read `name(argument, ...)`; raise ValueError otherwise."""
        match = _CALL.match(text)
        if match is None:
            raise ValueError(f"{text!r} does not read as `name(argument, ...)`")
        return cls(match[1], tuple(argument.strip() for argument in match[2].split(",") if argument.strip()))

    def __str__(self) -> str:
        return f"{self.name}({', '.join(self.arguments)})"


@dataclass(frozen=True)
class Goal(Relation):
    """A predicate of the world applied to named objects, such as `on(target, plate)`."""

    def holds(self, world: World) -> bool:
        """Whether the goal is met in `world`."""
        return predicates[self.name](world, *self.arguments)


@dataclass(frozen=True)
class Task:
    """One task of a suite, whole: nothing but this, an index and a seed decides an episode."""

    suite: str
    name: str
    engine: str  # which simulator front end builds it
    scene: str
    instruction: str
    paraphrases: tuple[str, ...]
    objects: Mapping[str, str]  # name in this task -> asset
    initial: tuple[Relation, ...]
    goal: tuple[Goal, ...]  # all must hold
    must_not: tuple[Goal, ...]  # any of them fails the episode
    horizon: int  # control steps
    wait_steps: int  # steps without motion before the policy begins, while objects settle
    success_steps: int  # consecutive steps for which the goal must hold
    engine_options: Mapping[str, object] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """`suite.name`."""
        return f"{self.suite}.{self.name}"

    def progress(self, world: World) -> float:
        """Return the share of the goals that hold; by-products count only once everything else holds."""
        aims = [goal for goal in self.goal if goal.name not in BY_PRODUCTS]
        met = sum(goal.holds(world) for goal in aims)
        if met == len(aims):
            met = sum(goal.holds(world) for goal in self.goal)
        return met / len(self.goal)

    def violated(self, world: World) -> bool:
        """Whether something happened that the task forbids."""
        return any(goal.holds(world) for goal in self.must_not)
