"""All suites that stand in the `tasks` folder, by name."""

from functools import cache
from pathlib import Path

from vla_bench.core.errors import ConfigurationError, UnknownNameError
from vla_bench.core.paths import data_folder
from vla_bench.tasks.predicates import predicates
from vla_bench.tasks.schema import SuiteFile, TaskTable, read_suite_file
from vla_bench.tasks.task import Goal, Relation, Task


def suites() -> tuple[str, ...]:
    """Return the names of all suites, sorted."""
    return tuple(sorted(_catalogue()))


def tasks_of(suite: str) -> tuple[Task, ...]:
    """Return the tasks of one suite in the order of its file."""
    if suite not in _catalogue():
        raise UnknownNameError("suite", suite, _catalogue())
    return _catalogue()[suite]


def task_ids(suite: str | None = None) -> tuple[str, ...]:
    """Return `suite.task` of every task, or of one suite's."""
    names = suites() if suite is None else (suite,)
    return tuple(task.id for name in names for task in tasks_of(name))


def get_task(task_id: str) -> Task:
    """Return the task named `suite.task`."""
    by_id = {task.id: task for name in suites() for task in tasks_of(name)}
    if task_id not in by_id:
        raise UnknownNameError("task", task_id, by_id)
    return by_id[task_id]


def load_suite(path: Path) -> tuple[Task, ...]:
    """Read the tasks of one TOML file; raise `ConfigurationError` that names file and field."""
    suite = read_suite_file(path)
    names = [table.name for table in suite.task]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ConfigurationError(path, f"task.{number}.name", f"{name!r} is there twice", "one task of each name")
    return tuple(_build(path, suite, table) for table in suite.task)


@cache
def _catalogue() -> dict[str, tuple[Task, ...]]:
    found: dict[str, tuple[Task, ...]] = {}
    for path in sorted(data_folder("tasks").glob("*.toml")):
        tasks = load_suite(path)
        found[tasks[0].suite] = tasks
    return found


def _build(path: Path, suite: SuiteFile, table: TaskTable) -> Task:
    objects = {**suite.objects, **table.objects}
    return Task(
        suite=suite.suite,
        name=table.name,
        engine=suite.engine,
        scene=suite.scene,
        instruction=table.instruction,
        paraphrases=table.paraphrases,
        objects=objects,
        initial=tuple(_relation(path, table, "initial", text) for text in suite.initial + table.initial),
        goal=tuple(_goal(path, table, "goal", text, objects) for text in table.goal),
        must_not=tuple(_goal(path, table, "must_not", text, objects) for text in table.must_not),
        horizon=table.horizon or suite.horizon,
        wait_steps=suite.wait_steps,
        success_steps=suite.success.held_steps,
        engine_options=table.options,
    )


def _relation(path: Path, table: TaskTable, field: str, text: str) -> Relation:
    try:
        return Relation.parse(text)
    except ValueError as error:
        raise ConfigurationError(path, f"{table.name}.{field}", str(error), "such as `on(cube, plate)`") from None


def _goal(path: Path, table: TaskTable, field: str, text: str, objects: dict[str, str]) -> Goal:
    relation = _relation(path, table, field, text)
    where = f"{table.name}.{field}"
    if relation.name not in predicates:
        raise ConfigurationError(path, where, str(UnknownNameError("predicate", relation.name, predicates)))
    for argument in relation.arguments:
        if argument not in objects:
            raise ConfigurationError(path, where, str(UnknownNameError("object", argument, objects)))
    return Goal(relation.name, relation.arguments)
