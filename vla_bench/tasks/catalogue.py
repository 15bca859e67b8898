"""Suites and tasks by name, read from TOML files."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from vla_bench.core.configuration import read_toml, validated
from vla_bench.core.errors import ConfigurationError, UnknownNameError
from vla_bench.core.files import data_folder, suite_files, user_env_folders
from vla_bench.tasks.initial_conditions import in_order, initial_relations
from vla_bench.tasks.predicates import parameters, predicates
from vla_bench.tasks.task import Goal, Relation, Task


def parts_of(objects: Mapping[str, str]) -> tuple[str, ...]:
    """Return `<object>_<part>` for every part of the objects, given as name -> asset; unknown assets have no parts."""
    return tuple(f"{name}_{part}" for name, asset in objects.items() for part in _declared(asset))


@cache
def _declared(asset: str) -> tuple[str, ...]:
    for folder in (data_folder("envs"), *user_env_folders()):
        if (path := folder / "objects" / f"{asset}.toml").is_file():
            return tuple(read_toml(path).get("parts", {}))
    return ()


class SuccessRule(BaseModel):
    """Rule for counting the goal as reached."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    held_steps: Annotated[int, Field(ge=1)] = 1


class TaskTable(BaseModel):
    """One `[[task]]` table; omitted fields have the value of the suite."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    instruction: Annotated[str, Field(min_length=3)]
    paraphrases: tuple[str, ...] = ()
    goal: Annotated[tuple[str, ...], Field(min_length=1)]
    objects: dict[str, str] = {}
    initial: tuple[str, ...] = ()
    must_not: tuple[str, ...] = ()
    ordered: bool = False
    horizon: Annotated[int, Field(ge=1)] | None = None
    options: dict[str, object] = {}


class SuiteFile(BaseModel):
    """The content of a suite file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    suite: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    description: str = ""
    engine: str = "tabletop"
    scene: str = "table"
    horizon: Annotated[int, Field(ge=1)]
    wait_steps: Annotated[int, Field(ge=0)] = 0
    success: SuccessRule = SuccessRule()
    objects: dict[str, str] = {}
    initial: tuple[str, ...] = ()
    task: Annotated[tuple[TaskTable, ...], Field(min_length=1)]


def read_suite_file(path: Path) -> SuiteFile:
    """Read and validate one suite; raise `ConfigurationError` with file and field."""
    return validated(SuiteFile, read_toml(path), path)


def suites() -> tuple[str, ...]:
    """Return the names of all suites, sorted."""
    return tuple(sorted(_catalogue()))


def tasks_of(suite: str) -> tuple[Task, ...]:
    """Return the tasks of one suite in the order of its file."""
    if suite not in _catalogue():
        raise UnknownNameError("suite", suite, _catalogue())
    return _catalogue()[suite]


def task_ids(suite: str | None = None) -> tuple[str, ...]:
    """Return `suite.task` of every task, or of the tasks of one suite."""
    names = suites() if suite is None else (suite,)
    return tuple(task.id for name in names for task in tasks_of(name))


def get_task(task_id: str) -> Task:
    """Return the task named `suite.task`."""
    by_id = {task.id: task for name in suites() for task in tasks_of(name)}
    if task_id not in by_id:
        raise UnknownNameError("task", task_id, by_id)
    return by_id[task_id]


def suite_path(suite: str) -> Path:
    """Return the file of a suite."""
    tasks_of(suite)
    return next(path for path in suite_files() if read_suite_file(path).suite == suite)


def load_suite(path: Path) -> tuple[Task, ...]:
    """Read the tasks of one TOML file; raise `ConfigurationError` with file and field."""
    suite = read_suite_file(path)
    names = [table.name for table in suite.task]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ConfigurationError(path, f"task.{number}.name", f"{name!r} occurs twice", "unique task names")
    return tuple(build_task(path, suite, table) for table in suite.task)


def _catalogue() -> dict[str, tuple[Task, ...]]:
    return _read(suite_files())


@cache
def _read(paths: tuple[Path, ...]) -> dict[str, tuple[Task, ...]]:
    found: dict[str, tuple[Task, ...]] = {}
    for path in paths:
        tasks = load_suite(path)
        suite = tasks[0].suite
        if suite in found:
            raise ConfigurationError(path, "suite", f"another file has a suite named {suite!r}", "a unique name")
        found[suite] = tasks
    return found


def build_task(path: Path, suite: SuiteFile, table: TaskTable) -> Task:
    """Return one task of a suite; raise `ConfigurationError` for its first mistake."""
    objects = {**suite.objects, **table.objects}
    task = Task(
        suite=suite.suite,
        name=table.name,
        engine=suite.engine,
        scene=suite.scene,
        instruction=table.instruction,
        paraphrases=table.paraphrases,
        objects=objects,
        initial=_initial(path, table, suite.initial + table.initial, objects),
        goal=tuple(_goal(path, table, "goal", text, objects) for text in table.goal),
        must_not=tuple(_goal(path, table, "must_not", text, objects) for text in table.must_not),
        horizon=table.horizon or suite.horizon,
        wait_steps=suite.wait_steps,
        success_steps=suite.success.held_steps,
        engine_options=table.options,
        ordered=table.ordered,
    )
    if task.ordered and len(task.aims) < 2:
        problem = f"true, but {', '.join(map(str, task.aims))} is the only goal"
        raise ConfigurationError(path, f"{table.name}.ordered", problem, "two or more goals in order")
    return task


def _initial(path: Path, table: TaskTable, texts: Iterable[str], objects: dict[str, str]) -> tuple[Relation, ...]:
    found: dict[tuple[bool, str], Relation] = {}
    where = f"{table.name}.initial"
    for text in texts:
        relation = _relation(path, table, "initial", text)
        _check_call(path, where, "initial relation", relation, _parameters_of_initial_relations())
        item = relation.arguments[0]
        joint = initial_relations[relation.name].arranges_joint
        _check_known(path, where, "object", item, (*objects, *parts_of(objects)) if joint else objects)
        if (joint, item) in found:
            raise ConfigurationError(path, where, f"{item!r} is placed twice", "one relation per object")
        for name, argument in zip(initial_relations[relation.name].parameters[1:], relation.arguments[1:], strict=True):
            if name != "region":  # the scene defines regions, not the task
                _check_known(path, where, "object", argument, objects)
        found[joint, item] = relation
    try:
        in_order(list(found.values()))
    except ValueError as error:
        raise ConfigurationError(path, where, str(error), "references that another relation places") from None
    return tuple(found.values())


def _parameters_of_initial_relations() -> dict[str, tuple[str, ...]]:
    return {name: relation.parameters for name, relation in initial_relations.items()}


def _relation(path: Path, table: TaskTable, field: str, text: str) -> Relation:
    try:
        return Relation.parse(text)
    except ValueError as error:
        raise ConfigurationError(path, f"{table.name}.{field}", str(error), "such as `on(cube, plate)`") from None


def _goal(path: Path, table: TaskTable, field: str, text: str, objects: dict[str, str]) -> Goal:
    relation = _relation(path, table, field, text)
    where = f"{table.name}.{field}"
    _check_call(path, where, "predicate", relation, {name: parameters(name) for name in predicates})
    for argument in relation.arguments:
        _check_known(path, where, "object", argument, (*objects, *parts_of(objects)))
    return Goal(relation.name, relation.arguments)


def _check_call(path: Path, where: str, kind: str, call: Relation, known: dict[str, tuple[str, ...]]) -> None:
    _check_known(path, where, kind, call.name, known)
    if len(call.arguments) != len(known[call.name]):
        wanted = Relation(call.name, known[call.name])
        raise ConfigurationError(path, where, f"`{call}` has the wrong number of arguments", f"`{wanted}`")


def _check_known(path: Path, where: str, kind: str, name: str, known: Iterable[str]) -> None:
    names = sorted(known)
    if name not in names:
        near = get_close_matches(name, names, n=1)
        expected = repr(near[0]) if near else f"one of {', '.join(names)}"
        raise ConfigurationError(path, where, f"no {kind} is named {name!r}", expected)


def sharing_start(task: Task, tasks: Iterable[Task]) -> tuple[Task, ...]:
    """Return the tasks of the same suite with the start scenes of `task` but other goals, and `task` itself.

    One over their number is the chance of success of a policy that knows the suite but ignores the instruction.
    """
    others = [other for other in tasks if other.suite == task.suite and _start(other) == _start(task)]
    goals = {frozenset(other.goal): other for other in others}  # one of several with the same goals
    goals[frozenset(task.goal)] = task
    return tuple(goals.values())


def _start(task: Task) -> tuple[object, ...]:
    options = sorted((name, repr(value)) for name, value in task.engine_options.items())
    return task.engine, task.scene, sorted(task.objects.items()), frozenset(task.initial), options
