"""Settled scenes of `tabletop_spatial`: the relations hold for exactly one of the two bowls."""

import numpy as np
import pytest

from tests.experts.episodes import environment_of
from vla_bench.core.types import World
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.envs.tabletop.simulation import TabletopSimulation
from vla_bench.tasks import Relation, Task, tasks_of
from vla_bench.tasks.initial_conditions import Footprint, Layout, Place, Placing, initial_relations

_TASKS = tasks_of("tabletop_spatial")
_SEEDS = range(12)
_SETTLED_M = 0.002  # allowed motion while objects come to rest


@pytest.fixture(scope="module")
def environments() -> dict[str, VlaBenchEnv]:
    return {task.name: environment_of(task) for task in _TASKS}


def _layout(simulation: TabletopSimulation, footprints: dict[str, Footprint]) -> Layout:
    """Return the layout in the simulator, not the sampled one."""
    world, surface_m = simulation.world, simulation.compiled.scene.surface_height_m
    places = {}
    for item in world.items():
        x, y, z = (float(value) for value in world.position_world(item))
        height_m = z + world.geometry(item).bottom_m - surface_m
        places[item] = Place((x, y), 0.0, height_m if height_m > _SETTLED_M else 0.0)
    return Layout(simulation.compiled.scene.regions, footprints, places)


def _bowl_relations(task: Task) -> list[Relation]:
    return [relation for relation in task.initial if relation.arguments[0].endswith("_bowl")]


@pytest.mark.parametrize("task", _TASKS, ids=lambda task: task.name)
def test_relations_hold_for_one_bowl_only(task: Task, environments: dict[str, VlaBenchEnv]) -> None:
    environment = environments[task.name]
    simulation = environment.simulation
    assert isinstance(simulation, TabletopSimulation)
    for seed in _SEEDS:
        environment.reset(seed=seed)
        layout = _layout(simulation, simulation.footprints)
        for relation in _bowl_relations(task):
            bowl, *others = relation.arguments
            other = "second_bowl" if bowl == "first_bowl" else "first_bowl"
            placing = initial_relations[relation.name]
            assert isinstance(placing, Placing)
            assert placing.holds(layout, bowl, *others, slack_m=_SETTLED_M), (relation, seed)
            assert not placing.holds(layout, other, *others, slack_m=0.04), (relation, seed)


@pytest.mark.parametrize("task", _TASKS, ids=lambda task: task.name)
def test_objects_are_at_rest_and_no_goal_is_reached(task: Task, environments: dict[str, VlaBenchEnv]) -> None:
    environment = environments[task.name]
    environment.reset(seed=3)
    world: World = environment.simulation.world
    before = {item: world.position_world(item).copy() for item in world.items()}
    for _ in range(10):
        environment.advance(np.array([0, 0, 0, 0, 0, 0, -1.0]))
    for item, position in before.items():
        assert np.linalg.norm(world.position_world(item) - position) < _SETTLED_M, item
    assert environment.task.progress(world) == 0.0


def test_both_tasks_of_a_pair_have_the_same_scenes(environments: dict[str, VlaBenchEnv]) -> None:
    """The same seed gives the same scene under two instructions, so that only the instruction distinguishes them."""
    for first, second in zip(_TASKS[::2], _TASKS[1::2], strict=True):
        assert first.initial == second.initial
        assert first.goal != second.goal
        assert first.instruction != second.instruction
        hashes = [environments[task.name].reset(seed=5)[1]["scene_hash"] for task in (first, second)]
        assert hashes[0] == hashes[1]


def test_the_suite_is_compiled_once(environments: dict[str, VlaBenchEnv]) -> None:
    simulations = [environment.simulation for environment in environments.values()]
    assert all(isinstance(simulation, TabletopSimulation) for simulation in simulations)
    assert len({id(simulation.compiled.model) for simulation in simulations}) == 1  # type: ignore[attr-defined]
