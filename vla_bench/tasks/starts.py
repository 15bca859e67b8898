"""Which tasks begin alike, so that only the instruction tells them apart."""

from collections.abc import Iterable

from vla_bench.tasks.task import Task


def sharing_start(task: Task, tasks: Iterable[Task]) -> tuple[Task, ...]:
    """Return those of `tasks` of the same suite that begin in the same scenes as `task` but want something else.

    `task` itself is always among them. One over their number is how often a policy that cannot read, but knows the
    suite, is right.
    """
    others = [other for other in tasks if other.suite == task.suite and _start(other) == _start(task)]
    goals = {frozenset(other.goal): other for other in others}  # of several with the same goals, one
    goals[frozenset(task.goal)] = task
    return tuple(goals.values())


def _start(task: Task) -> tuple[object, ...]:
    options = sorted((name, repr(value)) for name, value in task.engine_options.items())
    return task.engine, task.scene, sorted(task.objects.items()), frozenset(task.initial), options
