"""How far a task has come: the phase that the first unmet goal is in, from contacts and positions alone."""

from vla_bench.core.types import World
from vla_bench.tasks.predicates.items import grasped
from vla_bench.tasks.task import Task

PHASES = ("reach", "grasp", "carry", "release", "done")


def phase_of(task: Task, world: World) -> str:
    """Return the phase that any policy, not only the expert, is in."""
    goal = next((goal for goal in task.goal if not goal.holds(world)), None)
    if goal is None:
        return "done"
    item = goal.arguments[0]
    if goal.name == "released":
        return "release"
    if grasped(world, item):
        return "carry"
    return "grasp" if world.in_contact(item, "gripper") else "reach"
