"""The expert of a task: its goals in order, each reached by the skill that is registered for the predicate."""

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.errors import ConfigurationError
from vla_bench.core.types import World
from vla_bench.experts.expert import Expert
from vla_bench.experts.skills import Skill, skills
from vla_bench.experts.smooth import SmoothMotion
from vla_bench.tasks.predicates import BY_PRODUCTS
from vla_bench.tasks.task import Goal, Task


def make_expert(task: Task) -> Expert:
    """Return the expert that follows from the task's goals; raise `ConfigurationError` for a goal without a skill."""
    return SmoothMotion(make_planner(task))


def make_planner(task: Task) -> Expert:
    """Return what plans for that expert, whose motion nothing limits."""
    goals = [goal for goal in task.goal if goal.name not in BY_PRODUCTS]
    for goal in goals or task.goal:  # by-products alone are nothing that an expert could set out for
        if goal.name not in skills:
            known = ", ".join(skills)
            raise ConfigurationError(
                task.id, "goal", f"no expert skill reaches {goal}", f"predicates with one: {known}"
            )
    return PlannedExpert(goals)


class PlannedExpert:
    """Work on the first goal that does not hold; when all hold, finish the last one's motion."""

    def __init__(self, goals: list[Goal]) -> None:
        self._goals = goals
        self._skills: list[Skill] = []
        self._phase = ""

    @property
    def phase(self) -> str:
        """What the last action was for."""
        return self._phase

    def reset(self, world: World, generator: np.random.Generator) -> None:
        """Begin an episode; the planner itself draws nothing at random."""
        self._skills = [skills[goal.name](goal) for goal in self._goals]
        self._phase = ""

    def act(self, world: World) -> NDArray[np.float32]:
        """Return the next action."""
        unmet = next((i for i, goal in enumerate(self._goals) if not goal.holds(world)), len(self._goals) - 1)
        action, self._phase = self._skills[unmet].act(world)
        return action
