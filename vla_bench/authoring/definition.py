"""All mistakes in the text of a task file, found without a simulator: one does not hide the next."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_bench.authoring.problems import Problem, error, of_exception
from vla_bench.core.errors import ConfigurationError
from vla_bench.core.validation import read_toml, salvaged
from vla_bench.tasks.catalogue import build_task, suite_files
from vla_bench.tasks.schema import SuiteFile, TaskTable, read_suite_file
from vla_bench.tasks.task import Task

_RELATIONS = ("initial", "goal", "must_not")  # fields of a task that hold them
_STAND_INS = {"suite": "unnamed", "horizon": 1000}  # for a suite that lacks them; nothing is told about these


@dataclass(frozen=True)
class Definition:
    """What a task file says, as far as it can be understood."""

    path: Path
    tasks: tuple[Task, ...]  # all that can be read, without what is wrong about them
    runnable: tuple[Task, ...]  # those of them that nothing is wrong with
    problems: tuple[Problem, ...]


def read_definition(path: Path) -> Definition:
    """Read a task file as far as it goes; raise `ConfigurationError` only where it is no TOML at all."""
    content = read_toml(path)
    suite, mistakes = salvaged(SuiteFile, content, path, _STAND_INS)
    problems = [of_exception(path, "", mistake) for mistake in mistakes]
    if suite is None:
        return Definition(path, (), (), tuple(problems))
    problems += _names_taken(path, suite)
    spoilt = {_task_of(content, mistake.field) for mistake in mistakes}
    tasks: list[Task] = []
    runnable: list[Task] = []
    for table in suite.task:
        task, found = _readable_part(path, suite, table)
        problems += found
        if task is not None:
            tasks.append(task)
            if not found and not spoilt & {table.name, None}:
                runnable.append(task)
    return Definition(path, tuple(tasks), tuple(runnable), _each_once(problems))


def _task_of(content: Mapping[str, Any], field: str) -> str | None:
    """Return the name of the task that a field such as `task.3.goal` is of; None where it is the whole suite's."""
    table, _, rest = field.partition(".")
    number = rest.partition(".")[0]
    return str(content["task"][int(number)].get("name")) if table == "task" and number.isdigit() else None


def _names_taken(path: Path, suite: SuiteFile) -> list[Problem]:
    names = [table.name for table in suite.task]
    twice = [number for number, name in enumerate(names) if name in names[:number]]
    found = [
        error(path, f"task.{number}.name", f"{names[number]!r} is there twice", "one task of each name")
        for number in twice
    ]
    for other in suite_files():
        if other != path.resolve() and _suite_name(other) == suite.suite:
            found.append(error(path, "suite", f"{suite.suite!r} is the name of the suite in {other}", "another name"))
    return found


def _suite_name(path: Path) -> str | None:
    try:
        return read_suite_file(path).suite
    except ConfigurationError:  # is told where that file is checked
        return None


def _readable_part(path: Path, suite: SuiteFile, table: TaskTable) -> tuple[Task | None, list[Problem]]:
    """Build the task from those relations that can be read, taking in one after the other; the others are problems."""
    found: list[Problem] = []
    bare = suite.model_copy(update={"initial": ()})
    without = table.model_copy(update=dict.fromkeys(_RELATIONS, ()))

    def accepted(field: str, texts: Iterable[str]) -> tuple[str, ...]:
        kept: tuple[str, ...] = ()
        for text in texts:
            mistake = _mistake(path, bare, without.model_copy(update={field: (*kept, text)}))
            if mistake is not None and mistake.field == f"{table.name}.{field}":  # what is about the whole comes later
                found.append(of_exception(path, "", mistake))
            else:
                kept = (*kept, text)
        return kept

    texts = {"initial": suite.initial + table.initial, "goal": table.goal, "must_not": table.must_not}
    readable = table.model_copy(update={field: accepted(field, texts[field]) for field in _RELATIONS})
    mistake = _mistake(path, bare, readable)
    if mistake is None:
        return build_task(path, bare, readable), found
    if not found:  # else it may only follow from what was left out
        found.append(of_exception(path, "", mistake))
    return None, found


def _mistake(path: Path, suite: SuiteFile, table: TaskTable) -> ConfigurationError | None:
    try:
        build_task(path, suite, table)
    except ConfigurationError as raised:
        return raised
    return None


def _each_once(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Leave out repetitions: a mistake in what the suite says for all tasks is found in each of them."""
    first: dict[tuple[str, str, str, str], Problem] = {}
    for problem in problems:
        last_field = problem.field.rpartition(".")[2]
        first.setdefault((problem.source, last_field, problem.problem, problem.expected), problem)
    return tuple(first.values())
