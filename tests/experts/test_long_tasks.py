"""Several sub-goals: the expert reaches them in order, undoes none, and the environment records when."""

import numpy as np
import pytest

from tests.experts.episodes import environment_of
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.envs.tabletop.simulation import TabletopSimulation
from vla_bench.experts import make_expert
from vla_bench.tasks import Task, get_task, tasks_of
from vla_bench.tasks.task import Goal

_TASKS = tasks_of("tabletop_long")
_LAPSE_STEPS = 10  # for which a sub-goal may fail to hold; contacts flicker


def _steps(environment: VlaBenchEnv, expert_task: Task, seed: int):  # type: ignore[no-untyped-def]
    """Let the expert of a task act in an environment; yield the info of each step."""
    environment.reset(seed=seed)
    expert, world = make_expert(expert_task), environment.simulation.world
    expert.reset(world, np.random.default_rng(seed))
    ended = False
    while not ended:
        _, terminated, truncated, info = environment.advance(expert.act(world))
        ended = terminated or truncated
        yield info


@pytest.mark.parametrize("task", _TASKS, ids=lambda task: task.name)
def test_the_expert_undoes_nothing_and_its_order_is_recorded(task: Task) -> None:
    environment = environment_of(task)
    lapses, largest, info = dict.fromkeys(task.aims, 0), 0.0, {}
    begun: set[Goal] = set()
    for info in _steps(environment, task, seed=11):
        for goal in task.aims:
            holds = goal.holds(environment.simulation.world)
            begun |= {goal} if holds else set()
            lapses[goal] = 0 if holds or goal not in begun else lapses[goal] + 1
            assert lapses[goal] <= _LAPSE_STEPS, f"{goal} was undone"
        largest = max(largest, info["progress"])
    assert info["success"]
    assert largest == info["progress"] == 1.0
    assert [goal for goal, _ in info["subgoals_reached"]] == [str(goal) for goal in task.aims]
    assert sorted(step for _, step in info["subgoals_reached"]) == [step for _, step in info["subgoals_reached"]]


def test_the_wrong_order_is_no_success() -> None:
    """The can is put away last although the task wants it first: everything holds at the end, and yet it fails."""
    task = get_task("tabletop_long.close_drawer_then_stove_on")
    other_way = Task(**{**vars(task), "goal": task.goal[::-1]})
    infos = list(_steps(environment_of(task), other_way, seed=11))
    environment = environment_of(other_way)
    assert list(_steps(environment, other_way, seed=11))[-1]["success"]
    assert not infos[-1]["success"]
    assert len(infos) == task.horizon
    assert {goal for goal, _ in infos[-1]["subgoals_reached"]} == {str(goal) for goal in task.aims}


def test_a_cube_knocked_off_the_stack_is_put_back_first() -> None:
    task = get_task("tabletop_long.stack_three")
    environment = environment_of(task, horizon=2 * task.horizon)
    simulation, knocked, info = environment.simulation, False, {}
    assert isinstance(simulation, TabletopSimulation)
    for info in _steps(environment, task, seed=11):
        world = simulation.world
        if not knocked and info["progress"] == 0.5 and not world.in_contact("yellow_cube", "gripper"):
            simulation.move_item("green_cube", world.initial_position_world("green_cube") + np.array([0, 0, 0.01]))
            knocked = True
    assert knocked
    assert info["success"]
