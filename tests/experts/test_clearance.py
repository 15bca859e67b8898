"""Clearance above obstacles, and free spots next to placed items."""

import numpy as np
import pytest

from tests.experts.episodes import environment_of
from vla_bench.envs.tabletop.simulation import TabletopSimulation
from vla_bench.experts.grasps import free_spot, height_over
from vla_bench.tasks import get_task


@pytest.fixture
def simulation() -> TabletopSimulation:
    environment = environment_of(get_task("tabletop_long.two_cans_in_basket"))
    environment.reset(seed=3)
    assert isinstance(environment.simulation, TabletopSimulation)
    return environment.simulation


def test_the_way_over_the_cabinet_is_as_high_as_the_cabinet(simulation: TabletopSimulation) -> None:
    world = simulation.world
    cabinet = world.position_world("cabinet")
    top_m = cabinet[2] + world.geometry("cabinet").top_m
    beside = np.array([0.3, 0.0, 0.0])
    assert height_over(world, cabinet - beside, cabinet + beside, frozenset()) == pytest.approx(top_m)


def test_an_empty_way_may_be_low_and_the_load_itself_is_no_obstacle(simulation: TabletopSimulation) -> None:
    world = simulation.world
    nowhere = np.array([-0.35, 0.0, 0.0])
    assert height_over(world, nowhere, nowhere + 0.01, frozenset()) == -np.inf
    can = world.position_world("blue_can")
    assert height_over(world, can, can + 0.001, frozenset()) >= can[2]
    assert height_over(world, can, can + 0.001, frozenset(world.items())) == -np.inf


def test_a_second_thing_goes_beside_the_first(simulation: TabletopSimulation) -> None:
    world = simulation.world
    middle = world.position_world("basket")
    assert free_spot(world, "orange_can", "basket") == pytest.approx(middle[:2])
    simulation.move_item("blue_can", middle + np.array([0.0, 0.0, 0.01]))
    spot = free_spot(world, "orange_can", "basket")
    apart_m = np.linalg.norm(spot - middle[:2])
    assert 0.9 * 2 * world.geometry("blue_can").radius_m < apart_m < 0.075  # next to the first, inside the walls


def test_what_a_support_lies_on_does_not_lie_on_it(simulation: TabletopSimulation) -> None:
    world = simulation.world
    plate = world.position_world("plate").copy()
    simulation.move_item("bowl", plate + np.array([0.0, 0.0, 0.0275]))
    assert world.in_contact("bowl", "plate")
    assert free_spot(world, "yellow_cube", "bowl") == pytest.approx(world.position_world("bowl")[:2])
