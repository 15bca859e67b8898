"""The check of a task file: its text, its worlds, the starts of its episodes, and whether the expert solves it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vla_bench.authoring.definition import Definition, read_definition
from vla_bench.authoring.problems import Problem, error, of_exception, warning
from vla_bench.authoring.words import word_problems
from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import ConfigurationError, VlaBenchError
from vla_bench.tasks import Task, suite_path
from vla_bench.tasks.starts import sharing_start

if TYPE_CHECKING:  # a file with mistakes is told about without loading the simulator
    from vla_bench.authoring.trials import Trial
    from vla_bench.envs.environment import VlaBenchEnv

OnProgress = Callable[[int, int, str], None]

_LEAST_SUCCESS = 0.8  # of an expert; below, the task counts as unsolved
_ROOM = 1.5  # the horizon over the expert's mean length, for a policy that is slower than the expert
_SMALL_IMAGE = 16


@dataclass(frozen=True)
class CheckOptions:
    """How thoroughly to check."""

    seeds: int = 10  # scenes of each task
    expert: bool = True  # whether to try the expert
    robot: str = "panda"


@dataclass(frozen=True)
class TaskReport:
    """What was found out about a task that could be run."""

    task: Task
    begins_alike: int  # tasks, this one included
    trials: tuple["Trial", ...] = ()  # of the expert, none where it was not tried

    @property
    def chance(self) -> float:
        """How often a policy is right that solves one of the tasks that begin alike without reading which."""
        return 1.0 / self.begins_alike


@dataclass(frozen=True)
class CheckReport:
    """All that was found in one file."""

    path: Path
    problems: tuple[Problem, ...]
    tasks: tuple[TaskReport, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What must be mended."""
        return tuple(problem for problem in self.problems if problem.severity == "error")


def check_suite(
    file_or_suite: str | Path, options: CheckOptions, on_progress: OnProgress = lambda done, total, task: None
) -> CheckReport:
    """Check a task file, or a registered suite by its name.

    `on_progress` hears how many tasks are done, of how many, and which is next. Every mistake is reported, not the
    first alone. Raise `UnknownNameError` for a suite that does not exist.
    """
    path = _file(file_or_suite)
    try:
        definition = read_definition(path)
    except ConfigurationError as raised:
        return CheckReport(path, (of_exception(path, "", raised),), ())
    problems = [*definition.problems, *word_problems(path, definition.tasks)]
    reports: list[TaskReport] = []
    for number, task in enumerate(definition.runnable):
        on_progress(number, len(definition.runnable), task.name)
        report, found = _run(definition, task, options)
        reports.append(report)
        problems += found
    on_progress(len(reports), len(reports), "")
    return CheckReport(path, tuple(dict.fromkeys(problems)), tuple(reports))


def _file(file_or_suite: str | Path) -> Path:
    is_file = isinstance(file_or_suite, Path) or file_or_suite.endswith(".toml")
    return Path(file_or_suite) if is_file else suite_path(str(file_or_suite))


def _run(definition: Definition, task: Task, options: CheckOptions) -> tuple[TaskReport, list[Problem]]:
    from vla_bench.authoring.beginnings import beginning_problems
    from vla_bench.authoring.scenery import scenery_problems

    path, untried = definition.path, TaskReport(task, len(sharing_start(task, definition.tasks)))
    if problems := scenery_problems(path, task, options.robot):
        return untried, problems
    try:
        environment = _environment(task, options.robot)
    except VlaBenchError as raised:
        return untried, [of_exception(path, f"{task.name}.objects", raised)]
    try:
        problems = beginning_problems(path, environment, options.seeds)
        if not options.expert or any(problem.severity == "error" for problem in problems):
            return untried, problems
        trials, found = _tried(path, environment, options.seeds)
        return TaskReport(task, untried.begins_alike, trials), problems + found
    finally:
        environment.close()


def _environment(task: Task, robot: str) -> "VlaBenchEnv":
    from vla_bench.envs.environment import VlaBenchEnv
    from vla_bench.envs.options import EnvOptions

    return VlaBenchEnv(task, EnvOptions(_SMALL_IMAGE, cameras=(), robot=robot))


def _tried(path: Path, environment: "VlaBenchEnv", seeds: int) -> tuple[tuple["Trial", ...], list[Problem]]:
    from vla_bench.authoring.trials import mean_steps, try_expert
    from vla_bench.experts import make_expert

    task = environment.task
    try:
        expert = make_expert(task)
    except ConfigurationError as raised:  # which knows the task, and not the file that it stands in
        return (), [error(path, f"{task.name}.{raised.field}", raised.problem, raised.expected)]
    identities = [EpisodeIdentity(task.suite, task.name, index, variant="check") for index in range(seeds)]
    trials = tuple(try_expert(environment, expert, identity) for identity in identities)
    return trials, [*_unsolved(path, task, trials), *_tight(path, task, mean_steps(trials))]


def _unsolved(path: Path, task: Task, trials: tuple["Trial", ...]) -> list[Problem]:
    failures = [trial.index for trial in trials if not trial.success]
    if not failures:
        return []
    rate = 1.0 - len(failures) / len(trials)
    make = error if rate < _LEAST_SUCCESS else warning
    problem = f"the expert fails in {len(failures)} of {len(trials)} scenes (episodes {', '.join(map(str, failures))})"
    return [
        make(path, f"{task.name}.goal", problem, "a task that the expert solves: goals in order, reachable, with room")
    ]


def _tight(path: Path, task: Task, mean: float | None) -> list[Problem]:
    if mean is None or task.horizon >= _ROOM * mean:
        return []
    problem = f"{task.horizon} control steps, where the expert takes {mean:.0f} on average"
    return [warning(path, f"{task.name}.horizon", problem, f"at least {_ROOM * mean:.0f}, which is {_ROOM} times that")]
