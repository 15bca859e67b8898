"""How episodes begin: everything has its place, nothing is reached or lost yet, and things lie still."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from vla_bench.authoring.problems import Problem, error, of_exception, warning
from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import VlaBenchError
from vla_bench.core.types import ACTION_DIM
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.tasks.predicates import BY_PRODUCTS

_STILL = np.array([0, 0, 0, 0, 0, 0, -1.0])  # of one arm: no motion, gripper open
_STILL_STEPS = 10  # control steps without motion
_STILL_M = 0.01  # what moves further by itself in that time was placed badly


def beginning_problems(path: Path, environment: VlaBenchEnv, seeds: int) -> list[Problem]:
    """Reset over `seeds` scenes and return what is wrong with any of them, each finding once."""
    task = environment.task
    times: defaultdict[tuple[str, str, str, str], int] = defaultdict(int)
    for index in range(seeds):
        identity = EpisodeIdentity(task.suite, task.name, index, variant="check")
        try:
            environment.reset(seed=identity.scene_seed())
        except VlaBenchError as raised:
            return [*_told(path, times, index), of_exception(path, f"{task.name}.initial", raised)]
        for finding in (*_reached(environment), *_unsteady(environment)):
            times[finding] += 1
    return _told(path, times, seeds)


def _told(path: Path, times: dict[tuple[str, str, str, str], int], seeds: int) -> list[Problem]:
    found = []
    for (severity, field, problem, expected), count in times.items():
        make = error if severity == "error" else warning
        found.append(make(path, field, f"{problem} in {count} of {seeds} scenes", expected))
    return found


def _reached(environment: VlaBenchEnv) -> list[tuple[str, str, str, str]]:
    task, world = environment.task, environment.simulation.world
    aims = [goal for goal in task.goal if goal.name not in BY_PRODUCTS] or task.goal
    met = [goal for goal in aims if goal.holds(world)]
    field = f"{task.name}.goal"
    found = []
    if len(met) == len(aims) or environment.simulation.succeeded():
        which = " and ".join(f"`{goal}`" for goal in met) or "the engine's own success"
        found.append(
            ("error", field, f"{which} is true already at the start", "a start from which there is work to do")
        )
    else:
        expected = "a goal that is not, unless others must undo it on the way"
        found += [("warning", field, f"`{goal}` is true already at the start", expected) for goal in met]
    for goal in task.must_not:
        if goal.holds(world):
            problem = f"`{goal}` is true already at the start, so the episode is lost"
            found.append(("error", f"{task.name}.must_not", problem, "what is false until the robot does it"))
    return found


def _unsteady(environment: VlaBenchEnv) -> list[tuple[str, str, str, str]]:
    """Find what moves by itself, of what the task places; changes the episode."""
    world, task = environment.simulation.world, environment.task
    placed = {relation.arguments[0] for relation in task.initial} & set(world.items())
    before = {item: world.position_world(item).copy() for item in sorted(placed)}
    still = np.tile(_STILL, environment.simulation.action_dim // ACTION_DIM)
    for _ in range(_STILL_STEPS):
        environment.simulation.step(still)
    moved = [item for item, place in before.items() if np.linalg.norm(world.position_world(item) - place) > _STILL_M]
    expected = "a place where it rests"
    problem = f"more than {100 * _STILL_M:.0f} cm in the first half second, though nothing touches it,"
    return [("warning", f"{task.name}.initial", f"{item!r} moves {problem}", expected) for item in moved]
