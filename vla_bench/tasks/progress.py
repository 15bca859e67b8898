"""Phases, sub-goals and progress of an episode.

The sub-goals of a task are its goals without by-products such as `released`. A sub-goal is reached at the step from
which it holds until now; short lapses are ignored because contacts flicker. A task with `ordered = true` succeeds
only while its sub-goals have been reached in the order of the file; a wrong order can be undone and repeated.
"""

from dataclasses import dataclass

from vla_bench.core.types import World
from vla_bench.tasks.predicates.items import grasped
from vla_bench.tasks.task import Goal, Task

PHASES = ("reach", "grasp", "carry", "push", "operate", "release", "done")

_PUSHES = frozenset({"at"})
_OPERATES = frozenset({"open", "closed", "turned_on", "turned_off", "pressed"})  # predicates of joints


def phase_of(task: Task, world: World) -> str:
    """Return the phase of the first unmet goal, from contacts and positions alone, for any policy."""
    goal = next((goal for goal in task.goal if not goal.holds(world)), None)
    if goal is None:
        return "done"
    if goal.name == "released":
        return "release"
    return _phase_in_contact(goal, world) if _touched(world, goal.arguments[0]) else "reach"


def _phase_in_contact(goal: Goal, world: World) -> str:
    if goal.name in _OPERATES:
        return "operate"
    if grasped(world, goal.arguments[0]):
        return "carry"
    return "push" if goal.name in _PUSHES else "grasp"


def _touched(world: World, item: str) -> bool:
    """Return whether the gripper touches an item or a moving part of a fixture."""
    parts = {joint.name for joint in world.joints(item)} & set(world.items())
    return any(world.in_contact(part, "gripper") for part in (item, *sorted(parts)))


_LAPSE_STEPS = 10  # steps for which a sub-goal may fail to hold without being lost


@dataclass
class _State:
    since: int | None = None  # step at which the sub-goal was reached
    missed: int = 0  # steps since the sub-goal last held


class SubgoalRecord:
    """Tracks the sub-goals of one episode, step by step."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._states = {goal: _State() for goal in task.aims}

    def update(self, world: World, step: int) -> None:
        """Update from the world after `step` steps; 0 is the start."""
        for goal, state in self._states.items():
            if goal.holds(world):
                state.since, state.missed = step if state.since is None else state.since, 0
            else:
                state.missed += 1
                if state.missed > _LAPSE_STEPS:
                    state.since = None

    def reached(self) -> list[tuple[str, int]]:
        """Return the sub-goals reached now and the steps at which they were reached, in that order."""
        reached = [(str(goal), state.since) for goal, state in self._states.items() if state.since is not None]
        return sorted(reached, key=lambda entry: entry[1])

    def in_order(self) -> bool:
        """Return whether the sub-goals were reached in the required order; always true for a task without order."""
        if not self._task.ordered:
            return True
        steps = [state.since for state in self._states.values()]
        first_open = next((number for number, step in enumerate(steps) if step is None), len(steps))
        done = [step for step in steps[:first_open] if step is not None]
        return done == sorted(done) and not any(step is not None for step in steps[first_open:])
