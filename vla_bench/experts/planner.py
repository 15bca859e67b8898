"""The expert of a task: goals in order, each reached by the skill registered for its predicate."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.errors import ConfigurationError
from vla_bench.core.types import FloatArray, World
from vla_bench.experts.motion import OPEN, Pose, action_towards, nearest_equal_yaw, opening_yaw
from vla_bench.experts.skills import Action, Skill, skills
from vla_bench.tasks.task import Goal, Task

# ~ What an expert is.


class Expert(Protocol):
    """Something that solves a task from the simulator's state."""

    @property
    def phase(self) -> str:
        """What the last action was for."""

    def reset(self, world: World, generator: np.random.Generator) -> None:
        """Begin an episode."""

    def act(self, world: World) -> NDArray[np.float32]:
        """Return the next action in [-1, 1]: 7 numbers for each arm, the right one's first."""


# ~ Motion of bounded acceleration: a wrapper that limits how fast an expert's wish may change.

_LARGEST_POSITION_CHANGE = 0.4  # of an action's translation from one control step to the next; 1 is 5 cm
_LARGEST_ROTATION_CHANGE = 0.4  # of its rotation; 1 is 0.5 rad


class SmoothMotion:
    """Follow an expert, moving each arm's translation and rotation by no more than a limit a step.

    The limit binds the length of the change, so a turn stays in the plane of the old and the new direction. It starts
    from rest. Grippers answer at once: a grip that comes late is a grip that fails.
    """

    def __init__(self, expert: Expert) -> None:
        self._expert = expert
        self._last: Action | None = None

    @property
    def phase(self) -> str:
        """What the last action was for."""
        return self._expert.phase

    def reset(self, world: World, generator: np.random.Generator) -> None:
        """Begin an episode, at rest."""
        self._expert.reset(world, generator)
        self._last = None

    def act(self, world: World) -> Action:
        """Return the expert's next action, or the nearest to it that the last one allows."""
        action = self._expert.act(world).copy()
        last = np.zeros_like(action) if self._last is None else self._last
        for arm in range(0, len(action), 7):  # two arms act in one vector, 7 numbers each
            _follow(action, last, slice(arm, arm + 3), _LARGEST_POSITION_CHANGE)
            _follow(action, last, slice(arm + 3, arm + 6), _LARGEST_ROTATION_CHANGE)
        self._last = action
        return action.copy()


def _follow(action: FloatArray, last: FloatArray, part: slice, largest: float) -> None:
    change = action[part] - last[part]
    length = float(np.linalg.norm(change))
    if length > largest:
        action[part] = last[part] + change * (largest / length)


# ~ Leave what has been done: open the gripper and rise over everything near it.

_RISE_M = 0.09  # at least
_STEPS = 15  # after which the way up is given up, whatever is in the way
_REFERENCE_YAW_RAD = np.pi / 2


class Retreat:
    """Straight up from where the gripper is, at the yaw that it has."""

    def __init__(self, world: World) -> None:
        tip = world.end_effector_position_world()
        yaw = nearest_equal_yaw(opening_yaw(world), np.pi, _REFERENCE_YAW_RAD)
        self._target = Pose(tip + np.array([0.0, 0.0, _RISE_M]), yaw)
        self._steps_left = _STEPS

    def is_over(self, world: World) -> bool:
        """Whether the gripper is high enough."""
        risen = world.end_effector_position_world()[2] > self._target.position_world[2] - 0.02
        return bool(risen) or self._steps_left == 0

    def act(self, world: World) -> tuple[Action, str]:
        """Rise."""
        self._steps_left -= 1
        return action_towards(world, self._target, OPEN), "release"


# ~ The expert of a task: its goals in order, each reached by the skill that is registered for the predicate.


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
