"""The expert of a task: a planner that pursues its goals in order, retreats between goals, and smooth motion."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.errors import ConfigurationError
from vla_bench.core.types import FloatArray, World
from vla_bench.experts.motion import OPEN, Pose, action_towards, nearest_equal_yaw, opening_yaw
from vla_bench.experts.skills import Action, Skill, skills
from vla_bench.tasks.task import Goal, Task


class Expert(Protocol):
    """A controller that solves a task from the simulator state."""

    @property
    def phase(self) -> str:
        """The phase of the last action."""

    def reset(self, world: World, generator: np.random.Generator) -> None:
        """Start an episode."""

    def act(self, world: World) -> NDArray[np.float32]:
        """Return the next action in [-1, 1]: 7 numbers per arm, right arm first."""


_LARGEST_POSITION_CHANGE = 0.4  # largest change of translation between control steps; 1 is 5 cm
_LARGEST_ROTATION_CHANGE = 0.4  # largest change of rotation; 1 is 0.5 rad


class SmoothMotion:
    """A wrapper that limits the acceleration of an expert: the change of translation and rotation per step of each arm.

    The norm of the change is limited, so a turn stays in the plane of the old and the new direction. Motion starts from
    rest. Gripper commands are not delayed, because late grasps fail.
    """

    def __init__(self, expert: Expert) -> None:
        self._expert = expert
        self._last: Action | None = None

    @property
    def phase(self) -> str:
        """The phase of the last action."""
        return self._expert.phase

    def reset(self, world: World, generator: np.random.Generator) -> None:
        """Start an episode at rest."""
        self._expert.reset(world, generator)
        self._last = None

    def act(self, world: World) -> Action:
        """Return the next action of the expert, limited in its change from the last one."""
        action = self._expert.act(world).copy()
        last = np.zeros_like(action) if self._last is None else self._last
        for arm in range(0, len(action), 7):  # one vector for all arms, 7 numbers each
            _follow(action, last, slice(arm, arm + 3), _LARGEST_POSITION_CHANGE)
            _follow(action, last, slice(arm + 3, arm + 6), _LARGEST_ROTATION_CHANGE)
        self._last = action
        return action.copy()


def _follow(action: FloatArray, last: FloatArray, part: slice, largest: float) -> None:
    change = action[part] - last[part]
    length = float(np.linalg.norm(change))
    if length > largest:
        action[part] = last[part] + change * (largest / length)


_RETREAT_RISE_M = 0.09  # smallest rise
_RETREAT_STEPS = 15  # after which the retreat ends, whatever blocks it
_RETREAT_YAW_RAD = np.pi / 2


class Retreat:
    """Open the gripper and rise straight up at its current yaw."""

    def __init__(self, world: World) -> None:
        tip = world.end_effector_position_world()
        yaw = nearest_equal_yaw(opening_yaw(world), np.pi, _RETREAT_YAW_RAD)
        self._target = Pose(tip + np.array([0.0, 0.0, _RETREAT_RISE_M]), yaw)
        self._steps_left = _RETREAT_STEPS

    def is_over(self, world: World) -> bool:
        """Return whether the gripper is above everything near it."""
        risen = world.end_effector_position_world()[2] > self._target.position_world[2] - 0.02
        return bool(risen) or self._steps_left == 0

    def act(self, world: World) -> tuple[Action, str]:
        """Rise."""
        self._steps_left -= 1
        return action_towards(world, self._target, OPEN), "release"


def make_expert(task: Task) -> Expert:
    """Return the expert that follows from the task's goals; raise `ConfigurationError` for a goal without a skill."""
    return SmoothMotion(make_planner(task))


def make_planner(task: Task) -> Expert:
    """Return the planner of that expert, without acceleration limits."""
    for goal in task.aims:
        if goal.name not in skills:
            known = ", ".join(skills)
            raise ConfigurationError(
                task.id, "goal", f"no expert skill reaches {goal}", f"predicates with a skill: {known}"
            )
    return PlannedExpert(task)


class PlannedExpert:
    """Pursue the first unmet goal; when all are met, finish the motion of the last.

    A goal is met when it holds with its by-products, so an item is released before the next is approached. A held item
    is delivered first. Between two goals the gripper retreats upwards, so that it disturbs nothing.
    """

    def __init__(self, task: Task) -> None:
        self._parts = {goal: (goal, *task.by_products(goal)) for goal in task.aims}
        self._skills: dict[Goal, Skill] = {}
        self._current: Goal | None = None
        self._retreat: Retreat | None = None
        self._phase = ""

    @property
    def phase(self) -> str:
        """The phase of the last action."""
        return self._phase

    def reset(self, world: World, generator: np.random.Generator) -> None:
        """Start an episode; the planner itself is deterministic."""
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
        if self._current in open_goals and _is_touched(world, self._current):
            return self._current
        return open_goals[0] if open_goals else self._current or next(iter(self._parts))


def _is_touched(world: World, goal: Goal | None) -> bool:
    """Return whether the gripper touches the object of the goal."""
    if goal is None:
        return False
    thing = goal.arguments[0]
    touched = {thing, *(joint.name for joint in world.joints(thing))} & set(world.items())
    return any(world.in_contact(name, "gripper") for name in touched)
