"""How far a task has come: the phase that the first unmet goal is in, from contacts and positions alone."""

from vla_bench.core.types import World
from vla_bench.tasks.predicates.items import grasped
from vla_bench.tasks.task import Goal, Task

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
