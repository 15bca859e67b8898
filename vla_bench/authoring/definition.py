"""Static checks of a task file, without a simulator."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vla_bench.core.configuration import read_toml, salvaged
from vla_bench.core.errors import ConfigurationError, VlaBenchError
from vla_bench.core.files import suite_files
from vla_bench.tasks.catalogue import SuiteFile, TaskTable, build_task, read_suite_file, sharing_start
from vla_bench.tasks.task import Task

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """A finding. A task with an error cannot be used; a warning is advice."""

    severity: Severity
    source: str  # the file
    field: str
    problem: str
    expected: str = ""

    def __str__(self) -> str:
        return f"{self.severity}: {ConfigurationError(self.source, self.field, self.problem, self.expected)}"


def error(path: Path, field: str, problem: str, expected: str = "") -> Problem:
    """Return a finding that must be fixed."""
    return Problem("error", str(path), field, problem, expected)


def warning(path: Path, field: str, problem: str, expected: str = "") -> Problem:
    """Return a finding that should be checked."""
    return Problem("warning", str(path), field, problem, expected)


def of_exception(path: Path, field: str, raised: VlaBenchError) -> Problem:
    """Return the finding for an exception, with its own file and field if it names them."""
    if isinstance(raised, ConfigurationError):
        return Problem("error", raised.source, raised.field, raised.problem, raised.expected)
    return error(path, field, str(raised))


_FEWEST_PARAPHRASES = 5
_LONGEST_HORIZON = 2000  # control steps, 100 s


def word_problems(path: Path, tasks: Sequence[Task]) -> list[Problem]:
    """Return the problems of instructions, paraphrases and horizons."""
    found: list[Problem] = []
    for number, task in enumerate(tasks):
        found += _instruction(path, task, tasks[:number])
        found += _paraphrases(path, task, tasks)
        found += _horizon(path, task)
        found += _need_of_language(path, task, tasks)
    return found


def _instruction(path: Path, task: Task, earlier: Iterable[Task]) -> list[Problem]:
    twin = next((other for other in earlier if _spoken(other.instruction) == _spoken(task.instruction)), None)
    if twin is None:
        return []
    field, problem = f"{task.name}.instruction", f"{task.instruction!r} is also the instruction of {twin.name}"
    if twin in sharing_start(task, (twin,)) and frozenset(twin.goal) != frozenset(task.goal):
        return [error(path, field, f"{problem}, which has the same start scenes and other goals", "words of its own")]
    return [warning(path, field, problem, "words of its own")]


def _paraphrases(path: Path, task: Task, tasks: Iterable[Task]) -> list[Problem]:
    field, found = f"{task.name}.paraphrases", list[Problem]()
    spoken = [_spoken(text) for text in task.paraphrases]
    different = set(spoken) - {_spoken(task.instruction)}
    if len(different) < _FEWEST_PARAPHRASES:
        wanted = f"at least {_FEWEST_PARAPHRASES} that differ from each other and from the instruction"
        found.append(warning(path, field, f"it has {len(different)} different paraphrases", wanted))
    for other in tasks:
        if other is not task and _spoken(other.instruction) in different and other in sharing_start(task, (other,)):
            problem = f"{other.instruction!r} is the instruction of {other.name}, which has the same start scenes"
            found.append(error(path, field, problem, "words that only describe this task"))
    return found


def _horizon(path: Path, task: Task) -> list[Problem]:
    field = f"{task.name}.horizon"
    if task.horizon <= task.success_steps:
        problem = f"{task.horizon} control steps end before the goal can hold for {task.success_steps}"
        return [error(path, field, problem, "about twice the steps of the expert")]
    if task.horizon > _LONGEST_HORIZON:
        problem = f"{task.horizon} control steps of 50 ms are {task.horizon / 20:.0f} s"
        return [
            warning(path, field, problem, f"at most {_LONGEST_HORIZON}, about twice the steps that an expert needs")
        ]
    return []


def _need_of_language(path: Path, task: Task, tasks: Iterable[Task]) -> list[Problem]:
    if len(sharing_start(task, tasks)) > 1:
        return []
    problem = (
        "no other task of the suite has the same start scenes and other goals, so a policy can succeed without the "
        "instruction"
    )
    return [
        warning(path, f"{task.name}.instruction", problem, "distractor objects, and tasks with them as goal objects")
    ]


def _spoken(text: str) -> str:
    return " ".join(text.lower().replace(",", " ").rstrip(".!").split())


_RELATIONS = ("initial", "goal", "must_not")  # fields of a task with relations
_STAND_INS = {"suite": "unnamed", "horizon": 1000}  # substitutes for missing required fields; they cause no findings


@dataclass(frozen=True)
class Definition:
    """The valid parts of a task file and its problems."""

    path: Path
    tasks: tuple[Task, ...]  # all readable tasks, without their invalid parts
    runnable: tuple[Task, ...]  # the tasks without problems
    problems: tuple[Problem, ...]


def read_definition(path: Path) -> Definition:
    """Read a task file as far as possible; raise `ConfigurationError` only if it is not TOML."""
    content = read_toml(path)
    suite, mistakes = salvaged(SuiteFile, content, path, _STAND_INS)
    problems = [of_exception(path, "", mistake) for mistake in mistakes]
    if suite is None:
        return Definition(path, (), (), tuple(problems))
    problems += _names_taken(path, suite)
    with_mistakes = {_task_of(content, mistake.field) for mistake in mistakes}
    tasks: list[Task] = []
    runnable: list[Task] = []
    for table in suite.task:
        task, found = _readable_part(path, suite, table)
        problems += found
        if task is not None:
            tasks.append(task)
            if not found and not with_mistakes & {table.name, None}:
                runnable.append(task)
    return Definition(path, tuple(tasks), tuple(runnable), _each_once(problems))


def _task_of(content: Mapping[str, Any], field: str) -> str | None:
    """Return the name of the task of a field such as `task.3.goal`; None for a field of the suite."""
    table, _, rest = field.partition(".")
    number = rest.partition(".")[0]
    return str(content["task"][int(number)].get("name")) if table == "task" and number.isdigit() else None


def _names_taken(path: Path, suite: SuiteFile) -> list[Problem]:
    names = [table.name for table in suite.task]
    twice = [number for number, name in enumerate(names) if name in names[:number]]
    found = [
        error(path, f"task.{number}.name", f"{names[number]!r} occurs twice", "unique task names") for number in twice
    ]
    for other in suite_files():
        if other != path.resolve() and _suite_name(other) == suite.suite:
            found.append(
                error(path, "suite", f"{suite.suite!r} is already the name of the suite in {other}", "another name")
            )
    return found


def _suite_name(path: Path) -> str | None:
    try:
        return read_suite_file(path).suite
    except ConfigurationError:  # reported by the check of that file
        return None


def _readable_part(path: Path, suite: SuiteFile, table: TaskTable) -> tuple[Task | None, list[Problem]]:
    """Build the task from its readable relations, one after the other; the others are problems."""
    found: list[Problem] = []
    bare = suite.model_copy(update={"initial": ()})
    without = table.model_copy(update=dict.fromkeys(_RELATIONS, ()))

    def accepted(field: str, texts: Iterable[str]) -> tuple[str, ...]:
        readable: tuple[str, ...] = ()
        for text in texts:
            mistake = _mistake(path, bare, without.model_copy(update={field: (*readable, text)}))
            # problems of the whole task come later
            if mistake is not None and mistake.field == f"{table.name}.{field}":
                found.append(of_exception(path, "", mistake))
            else:
                readable = (*readable, text)
        return readable

    texts = {"initial": suite.initial + table.initial, "goal": table.goal, "must_not": table.must_not}
    rest = table.model_copy(update={field: accepted(field, texts[field]) for field in _RELATIONS})
    mistake = _mistake(path, bare, rest)
    if mistake is None:
        return build_task(path, bare, rest), found
    if not found:  # otherwise the problem may only follow from a removed relation
        found.append(of_exception(path, "", mistake))
    return None, found


def _mistake(path: Path, suite: SuiteFile, table: TaskTable) -> ConfigurationError | None:
    try:
        build_task(path, suite, table)
    except ConfigurationError as raised:
        return raised
    return None


def _each_once(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Remove repetitions: a mistake in the shared part of a suite is found in each of its tasks."""
    first: dict[tuple[str, str, str, str], Problem] = {}
    for problem in problems:
        last_field = problem.field.rpartition(".")[2]
        first.setdefault((problem.source, last_field, problem.problem, problem.expected), problem)
    return tuple(first.values())
