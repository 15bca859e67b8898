"""Checks of a task file: text, scenes, start states and expert success."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vla_bench.authoring.definition import (
    Definition,
    Problem,
    error,
    of_exception,
    read_definition,
    warning,
    word_problems,
)
from vla_bench.core.env_options import EnvOptions
from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import ConfigurationError, UnknownNameError, VlaBenchError
from vla_bench.core.registry import Registry
from vla_bench.core.types import still_action
from vla_bench.envs.descriptions import describe_object, describe_robot, describe_scene
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.tasks import Task, suite_path
from vla_bench.tasks.catalogue import sharing_start
from vla_bench.tasks.initial_conditions import initial_relations

if TYPE_CHECKING:
    from vla_bench.authoring.trials import Trial


_STILL_STEPS = 10  # control steps without motion
_STILL_M = 0.01  # objects that move further without contact were placed badly


def start_problems(path: Path, environment: VlaBenchEnv, seeds: int) -> list[Problem]:
    """Return the problems of the start states of `seeds` scenes, each problem once."""
    task = environment.task
    times: defaultdict[tuple[str, str, str, str], int] = defaultdict(int)
    for index in range(seeds):
        identity = EpisodeIdentity(task.suite, task.name, index, variant="check")
        try:
            environment.reset(seed=identity.scene_seed())
        except VlaBenchError as raised:
            return [*_start_problem_text(path, times, index), of_exception(path, f"{task.name}.initial", raised)]
        for finding in (*_reached(environment), *_unsteady(environment)):
            times[finding] += 1
    return _start_problem_text(path, times, seeds)


def _start_problem_text(path: Path, times: dict[tuple[str, str, str, str], int], seeds: int) -> list[Problem]:
    found = []
    for (severity, field, problem, expected), count in times.items():
        make = error if severity == "error" else warning
        found.append(make(path, field, f"{problem} in {count} of {seeds} scenes", expected))
    return found


def _reached(environment: VlaBenchEnv) -> list[tuple[str, str, str, str]]:
    task, world = environment.task, environment.simulation.world
    met = [goal for goal in task.aims if goal.holds(world)]
    field = f"{task.name}.goal"
    found = []
    if len(met) == len(task.aims) or environment.simulation.succeeded():
        which = " and ".join(f"`{goal}`" for goal in met) or "the success criterion of the engine"
        found.append(
            ("error", field, f"{which} is already true at the start", "a start state in which the task is not done")
        )
    else:
        expected = "a goal that is false at the start, unless other goals must undo it"
        found += [("warning", field, f"`{goal}` is already true at the start", expected) for goal in met]
    for goal in task.must_not:
        if goal.holds(world):
            problem = f"`{goal}` is already true at the start, so every episode fails"
            found.append(("error", f"{task.name}.must_not", problem, "an event that only the robot can cause"))
    return found


def _unsteady(environment: VlaBenchEnv) -> list[tuple[str, str, str, str]]:
    """Yield placed objects that move without contact; steps the environment."""
    world, task = environment.simulation.world, environment.task
    placed = {relation.arguments[0] for relation in task.initial} & set(world.items())
    before = {item: world.position_world(item).copy() for item in sorted(placed)}
    still = still_action(environment.simulation.action_dim)
    for _ in range(_STILL_STEPS):
        environment.simulation.step(still)
    moved = [item for item, place in before.items() if np.linalg.norm(world.position_world(item) - place) > _STILL_M]
    expected = "a position at which it rests"
    problem = f"more than {100 * _STILL_M:.0f} cm in the first half second without contact"
    return [("warning", f"{task.name}.initial", f"{item!r} moves {problem}", expected) for item in moved]


SceneryCheck = Callable[[Path, Task, str], list[Problem]]  # takes the file, a task of it and a robot
scenery_checks: Registry[SceneryCheck] = Registry("asset check")


def scenery_problems(path: Path, task: Task, robot: str) -> list[Problem]:
    """Return the names of a task that its engine does not have."""
    from vla_bench.envs.engines import engines  # loads mujoco

    if task.engine not in engines:
        return [error(path, "engine", str(UnknownNameError("engine", task.engine, engines)))]
    return scenery_checks[task.engine](path, task, robot) if task.engine in scenery_checks else []


@scenery_checks.named("tabletop")
def tabletop_problems(path: Path, task: Task, robot: str) -> list[Problem]:
    """Look up every object, the scene with its regions, and the robot."""
    found: list[Problem] = []
    for name, asset in task.objects.items():
        found += _attempted(path, f"objects.{name}", partial(describe_object, asset))
    found += _attempted(path, "robot", partial(describe_robot, robot))
    without_scene = _attempted(path, "scene", partial(describe_scene, task.scene))
    return found + (without_scene or _region_problems(path, task))


@scenery_checks.named("robosuite")
def robosuite_problems(path: Path, task: Task, robot: str) -> list[Problem]:
    """Look up the robosuite environment and its options."""
    from vla_bench.envs.rendering.backend import load_mujoco

    load_mujoco()  # before robosuite imports MuJoCo with another OpenGL backend
    from vla_bench.envs.robosuite.factory import check_options

    return _attempted(path, f"{task.name}.options", partial(check_options, **task.engine_options))


def _region_problems(path: Path, task: Task) -> list[Problem]:
    regions = describe_scene(task.scene).regions
    found = []
    for relation in task.initial:
        for parameter, argument in zip(initial_relations[relation.name].parameters, relation.arguments, strict=True):
            if parameter == "region" and argument not in regions:
                problem = str(UnknownNameError(f"region of the scene {task.scene!r}", argument, regions))
                found.append(error(path, f"{task.name}.initial", f"`{relation}`: {problem}"))
    return found


def _attempted(path: Path, field: str, look_up: Callable[[], object]) -> list[Problem]:
    try:
        look_up()
    except VlaBenchError as raised:
        return [of_exception(path, field, raised)]
    return []


OnProgress = Callable[[int, int, str], None]

_LEAST_SUCCESS = 0.8  # success rate of the expert below which the task counts as unsolved
_ROOM = 1.5  # horizon divided by the expert's mean length, for policies slower than the expert
_SMALL_IMAGE = 16


@dataclass(frozen=True)
class CheckOptions:
    """Options of the check."""

    seeds: int = 10  # scenes per task
    expert: bool = True  # run the expert
    robot: str = "panda"


@dataclass(frozen=True)
class TaskReport:
    """Findings for a task that could be run."""

    task: Task
    begins_alike: int  # tasks, this one included
    trials: tuple["Trial", ...] = ()  # of the expert; empty if it was not run

    @property
    def chance(self) -> float:
        """The chance of success of a policy that solves a random task with the same start scenes."""
        return 1.0 / self.begins_alike


@dataclass(frozen=True)
class CheckReport:
    """All findings in one file."""

    path: Path
    problems: tuple[Problem, ...]
    tasks: tuple[TaskReport, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The findings that must be fixed."""
        return tuple(problem for problem in self.problems if problem.severity == "error")


def check_suite(
    file_or_suite: str | Path, options: CheckOptions, on_progress: OnProgress = lambda done, total, task: None
) -> CheckReport:
    """Check a task file, or a registered suite by its name.

    `on_progress` receives the number of finished tasks, the total and the next task. Every mistake is reported, not
    only the first. Raise `UnknownNameError` for a suite that does not exist.
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
    path, untried = definition.path, TaskReport(task, len(sharing_start(task, definition.tasks)))
    if problems := scenery_problems(path, task, options.robot):
        return untried, problems
    try:
        environment = _environment(task, options.robot)
    except VlaBenchError as raised:
        return untried, [of_exception(path, f"{task.name}.objects", raised)]
    try:
        problems = start_problems(path, environment, options.seeds)
        if not options.expert or any(problem.severity == "error" for problem in problems):
            return untried, problems
        trials, found = _tried(path, environment, options.seeds)
        return TaskReport(task, untried.begins_alike, trials), problems + found
    finally:
        environment.close()


def _environment(task: Task, robot: str) -> VlaBenchEnv:
    return VlaBenchEnv(task, EnvOptions(image_size=_SMALL_IMAGE, cameras=(), robot=robot))


def _tried(path: Path, environment: VlaBenchEnv, seeds: int) -> tuple[tuple["Trial", ...], list[Problem]]:
    from vla_bench.authoring.trials import mean_steps, try_expert
    from vla_bench.experts import make_expert

    task = environment.task
    try:
        expert = make_expert(task)
    except ConfigurationError as raised:  # it names the task but not its file
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
        make(
            path,
            f"{task.name}.goal",
            problem,
            "a task that the expert solves: ordered and reachable goals with enough room",
        )
    ]


def _tight(path: Path, task: Task, mean: float | None) -> list[Problem]:
    if mean is None or task.horizon >= _ROOM * mean:
        return []
    problem = f"{task.horizon} control steps, but the expert takes {mean:.0f} on average"
    return [warning(path, f"{task.name}.horizon", problem, f"at least {_ROOM * mean:.0f}, which is {_ROOM} times that")]
