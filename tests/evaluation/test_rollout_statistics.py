"""The way of the hand, drops, disturbed things and forces of an episode."""

from collections.abc import Iterator

import numpy as np
import pytest

from vla_bench.envs.environment import VlaBenchEnv, make
from vla_bench.evaluation.rollout_statistics import RolloutStatistics, RolloutStatisticsRecorder
from vla_bench.experts import make_expert

TASK = "tabletop_object.red_cube_on_plate"


@pytest.fixture
def environment() -> Iterator[VlaBenchEnv]:
    made = make(TASK, image_size=32, cameras=())
    yield made
    made.close()


def _episode(environment: VlaBenchEnv, let_go_while_carrying: bool = False) -> RolloutStatistics:
    environment.reset(seed=3)
    world, expert = environment.simulation.world, make_expert(environment.task)
    expert.reset(world, np.random.default_rng(0))
    recorder, carried, ended = RolloutStatisticsRecorder(environment), 0, False
    while not ended:
        action = expert.act(world).copy()
        carried += world.position_world("red_cube")[2] > world.initial_position_world("red_cube")[2] + 0.06
        if let_go_while_carrying and 2 <= carried < 30:
            action[:] = (0, 0, 0, 0, 0, 0, -1.0)
            carried += 1
        _, terminated, truncated, _ = environment.advance(action)
        recorder.record_step()
        ended = terminated or truncated
    return recorder.result()


def test_the_expert_drops_and_disturbs_nothing(environment: VlaBenchEnv) -> None:
    rollout_statistics = _episode(environment)
    assert (rollout_statistics.drops, rollout_statistics.disturbed) == (0, 0)
    assert 0.3 < rollout_statistics.path_length_m < 3.0
    assert 1.0 < rollout_statistics.peak_force_n < 500.0


def test_an_object_released_in_the_air_is_dropped_once(environment: VlaBenchEnv) -> None:
    assert _episode(environment, let_go_while_carrying=True).drops == 1


def test_a_moved_object_outside_all_goals_is_disturbed(environment: VlaBenchEnv) -> None:
    environment.reset(seed=3)
    recorder, world = RolloutStatisticsRecorder(environment), environment.simulation.world
    place = world.position_world("blue_can") + np.array([0.2, 0.0, 0.0])
    environment.simulation.move_item("blue_can", place)  # type: ignore[attr-defined]
    assert recorder.result().disturbed == 1
