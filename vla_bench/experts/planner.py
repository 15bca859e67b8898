"""The expert of a task: its goals in order, each reached by the skill that is registered for the predicate."""

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.errors import ConfigurationError
from vla_bench.core.types import World
from vla_bench.experts.expert import Expert
from vla_bench.experts.retreat import Retreat
from vla_bench.experts.skills import Skill, skills
from vla_bench.experts.smooth import SmoothMotion
from vla_bench.tasks.task import Goal, Task


def make_expert(task: Task) -> Expert:
    """Return the expert that follows from the task's goals; raise `ConfigurationError` for a goal without a skill."""
    return SmoothMotion(make_planner(task))


def make_planner(task: Task) -> Expert:
    """Return what plans for that expert, whose motion nothing limits."""
    for goal in task.aims:
        if goal.name not in skills:
            known = ", ".join(skills)
            raise ConfigurationError(
                task.id, "goal", f"no expert skill reaches {goal}", f"predicates with one: {known}"
            )
    return PlannedExpert(task)


class PlannedExpert:
    """Work on the first goal that is not done; when all are, finish the last one's motion.

    A goal is done when it holds with its by-products, so an item is let go before the next is sought. What the gripper
    holds is brought to its end first. Between two goals the gripper leaves upwards, so that nothing is undone.
    """

    def __init__(self, task: Task) -> None:
        self._parts = {goal: (goal, *task.by_products(goal)) for goal in task.aims}
        self._skills: dict[Goal, Skill] = {}
        self._current: Goal | None = None
        self._retreat: Retreat | None = None
        self._phase = ""

    @property
    def phase(self) -> str:
        """What the last action was for."""
        return self._phase

    def reset(self, world: World, generator: np.random.Generator) -> None:
        """Begin an episode; the planner itself draws nothing at random."""
        self._skills = {goal: skills[goal.name](goal) for goal in self._parts}
        self._current, self._retreat = None, None
        self._phase = ""

    def act(self, world: World) -> NDArray[np.float32]:
        """Return the next action."""
        chosen = self._choose(world)
        if self._current not in (None, chosen):
            self._retreat = Retreat(world)
        self._current = chosen
        if self._retreat is not None and not self._retreat.is_over(world):
            action, self._phase = self._retreat.act(world)
            return action
        self._retreat = None
        action, self._phase = self._skills[chosen].act(world)
        return action

    def _choose(self, world: World) -> Goal:
        open_goals = [goal for goal, parts in self._parts.items() if not all(part.holds(world) for part in parts)]
        if self._current in open_goals and _at_hand(world, self._current):
            return self._current
        return open_goals[0] if open_goals else self._current or next(iter(self._parts))


def _at_hand(world: World, goal: Goal | None) -> bool:
    """Whether the gripper touches what the goal is about."""
    if goal is None:
        return False
    thing = goal.arguments[0]
    touched = {thing, *(joint.name for joint in world.joints(thing))} & set(world.items())
    return any(world.in_contact(name, "gripper") for name in touched)
