"""Tasks as plain data, read from TOML, with goal predicates."""

from vla_bench.tasks.catalogue import get_task, load_suite, suite_path, suites, task_ids, tasks_of
from vla_bench.tasks.predicates import predicates
from vla_bench.tasks.task import Goal, Relation, Task

__all__ = [
    "Goal",
    "Relation",
    "Task",
    "get_task",
    "load_suite",
    "predicates",
    "suite_path",
    "suites",
    "task_ids",
    "tasks_of",
]
