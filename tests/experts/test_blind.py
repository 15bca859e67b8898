"""The expert without the instruction: it solves a random one of the tasks with the same start scenes."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tests.experts.episodes import environment_of
from vla_bench.core.episode import EpisodeIdentity
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.experts.catalogue import BlindExpert, make_blind_expert
from vla_bench.tasks import Goal, Relation, get_task, tasks_of
from vla_bench.tasks.catalogue import sharing_start

TASK = get_task("tabletop_pick.pick_red_cube")
EPISODES = 12


@pytest.fixture(scope="module")
def environment() -> VlaBenchEnv:
    return environment_of(TASK, horizon=60)


def _draws(expert: BlindExpert, environment: VlaBenchEnv, seeds: range) -> list[str]:
    world, drawn = environment.simulation.world, []
    for seed in seeds:
        expert.reset(world, np.random.default_rng(seed))
        drawn.append(expert.sampled_task.name)
    return drawn


def test_it_succeeds_exactly_where_it_drew_the_task_by_chance(environment: VlaBenchEnv) -> None:
    expert = make_blind_expert(TASK)
    drawn, successes = [], []
    for index in range(EPISODES):
        identity = EpisodeIdentity(TASK.suite, TASK.name, index, variant="blind")
        environment.reset(seed=identity.scene_seed())
        world = environment.simulation.world
        expert.reset(world, identity.generator("expert"))
        ended, info = False, {"success": False}
        while not ended:
            _, terminated, truncated, info = environment.advance(expert.act(world))
            ended = terminated or truncated
        drawn.append(expert.sampled_task.name)
        successes.append(bool(info["success"]))
    assert successes == [name == TASK.name for name in drawn]
    assert 0 < sum(successes) < EPISODES


def test_it_draws_each_task_alike_and_from_the_generator_alone(environment: VlaBenchEnv) -> None:
    expert = make_blind_expert(TASK)
    counts = Counter(_draws(expert, environment, range(500)))
    assert counts.keys() == {task.name for task in tasks_of(TASK.suite)}
    assert min(counts.values()) > 70  # of 100 expected; 1 in 2000 sequences has fewer
    assert _draws(expert, environment, range(20)) == _draws(make_blind_expert(TASK), environment, range(20))


def test_which_task_was_asked_for_makes_no_difference(environment: VlaBenchEnv) -> None:
    experts = [make_blind_expert(task) for task in tasks_of(TASK.suite)]
    names = {frozenset(task.name for task in expert.tasks) for expert in experts}
    assert len(names) == 1
    assert len({tuple(_draws(expert, environment, range(20))) for expert in experts}) == 1


def test_tasks_begin_alike_where_objects_relations_and_scene_are_the_same() -> None:
    tasks = tasks_of(TASK.suite)
    assert len(sharing_start(TASK, tasks)) == len(tasks) == 5
    others = (
        replace(TASK, suite="another"),
        replace(TASK, scene="kitchen"),
        replace(TASK, objects={**TASK.objects, "bowl": "bowl"}),
        replace(TASK, initial=(Relation("in_region", ("basket", "right")), *TASK.initial[1:])),
        replace(TASK, engine_options={"env_name": "Lift"}),
    )
    for other in others:
        changed = replace(other, name="other", goal=(Goal("lifted", ("plate",)),))
        assert changed not in sharing_start(TASK, (*tasks, changed))
    reordered = replace(TASK, name="other", goal=(Goal("lifted", ("plate",)),), initial=TASK.initial[::-1])
    assert reordered in sharing_start(TASK, (*tasks, reordered))


def test_a_task_that_wants_the_same_counts_once() -> None:
    twin = replace(TASK, name="twin", instruction="raise the red cube")
    assert sharing_start(TASK, (twin, TASK)) == (TASK,)
    assert sharing_start(TASK, ()) == (TASK,)
