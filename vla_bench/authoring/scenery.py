"""What the engine of a task must know before it can build its world: assets, scene and regions. One check an engine."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from vla_bench.authoring.problems import Problem, error, of_exception
from vla_bench.core.errors import UnknownNameError, VlaBenchError
from vla_bench.core.registry import Registry
from vla_bench.envs.descriptions import describe_object, describe_robot, describe_scene
from vla_bench.tasks.initial import initial_relations
from vla_bench.tasks.task import Task

SceneryCheck = Callable[[Path, Task, str], list[Problem]]  # of a file, a task in it and a robot
scenery_checks: Registry[SceneryCheck] = Registry("scenery check")


def scenery_problems(path: Path, task: Task, robot: str) -> list[Problem]:
    """Return what a task names and its engine does not have."""
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
    """Look up robosuite's environment and the options that go to it."""
    from vla_bench.envs.robosuite_engine.making import check_options

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
