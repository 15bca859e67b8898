"""Phases, sub-goals and progress of an episode."""

from dataclasses import dataclass

from vla_bench.core.types import World
from vla_bench.tasks.predicates.items import grasped
from vla_bench.tasks.task import Goal, Task

# ~ How far a task has come: the phase that the first unmet goal is in, from contacts and positions alone.

PHASES = ("reach", "grasp", "carry", "push", "operate", "release", "done")

_PUSHES = frozenset({"at"})
_OPERATES = frozenset({"open", "closed", "turned_on", "turned_off", "pressed"})  # they speak of joints


def phase_of(task: Task, world: World) -> str:
    """Return the phase that any policy, not only the expert, is in."""
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
    """Whether the gripper touches an item or, of a fixture, one of the parts that move."""
    parts = {joint.name for joint in world.joints(item)} & set(world.items())
    return any(world.in_contact(part, "gripper") for part in (item, *sorted(parts)))


# ~ Sub-goals of an episode: which hold, since when, and whether they came in the order that the task names.
# ~
# ~ A task's sub-goals are its goals without by-products such as `released`. One is reached at the step from which
# ~ it holds
# ~ until now; a short lapse does not count, since contacts flicker. A task with `ordered = true` succeeds only
# ~ while its
# ~ sub-goals have been reached in the order of the file. Who does the second thing first may undo it and do it
# ~ again.

_LAPSE_STEPS = 10  # for which a sub-goal may fail to hold without being lost


@dataclass
class _State:
    since: int | None = None  # step at which it was reached
    missed: int = 0  # steps since it last held


class SubgoalRecord:
    """Watches one episode, step by step."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._states = {goal: _State() for goal in task.aims}

    def update(self, world: World, step: int) -> None:
        """Look at the world after `step` steps; 0 is the start."""
        for goal, state in self._states.items():
            if goal.holds(world):
                state.since, state.missed = step if state.since is None else state.since, 0
            else:
                state.missed += 1
                if state.missed > _LAPSE_STEPS:
                    state.since = None

    def reached(self) -> list[tuple[str, int]]:
        """Return the sub-goals that are reached now and the steps at which they were, in the order of reaching."""
        reached = [(str(goal), state.since) for goal, state in self._states.items() if state.since is not None]
        return sorted(reached, key=lambda entry: entry[1])

    def in_order(self) -> bool:
        """Whether what is reached was reached as the task demands; always so for a task without order."""
        if not self._task.ordered:
            return True
        steps = [state.since for state in self._states.values()]
        first_open = next((number for number, step in enumerate(steps) if step is None), len(steps))
        done = [step for step in steps[:first_open] if step is not None]
        return done == sorted(done) and not any(step is not None for step in steps[first_open:])
