"""The expert's motion is of bounded acceleration, and costs neither success nor much time."""

import numpy as np
import pytest

from tests.experts.episodes import environment_of
from vla_bench.core.types import CONTROL_HZ, FloatArray, World
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.experts import Expert, make_expert, make_planner
from vla_bench.experts.planner import SmoothMotion
from vla_bench.tasks import get_task

_LARGEST_CHANGE = 0.4 + 1e-6  # of the translation, and of the rotation, of an action
_LARGEST_ACCELERATION = 2.6  # m/s^2, at the control rate; the planner alone reaches 4 to 5
_TASKS = ["tabletop_object.orange_mug_in_basket", "tabletop_pick.pick_red_cube"]


class Jerky:
    """An expert that asks for one action after the other of a list."""

    phase = "reach"

    def __init__(self, actions: FloatArray) -> None:
        self._actions = iter(actions.astype(np.float32))

    def reset(self, world: World, generator: np.random.Generator) -> None:
        """Nothing to prepare."""

    def act(self, world: World) -> np.ndarray:
        return next(self._actions)


def _episode(environment: VlaBenchEnv, expert: Expert, seed: int) -> tuple[bool, FloatArray, FloatArray]:
    """Return success, actions (T, 7), and accelerations (T,) [m/s^2]."""
    environment.reset(seed=seed)
    world = environment.simulation.world
    expert.reset(world, np.random.default_rng(seed))
    places, actions, ended = [world.end_effector_position_world().copy()] * 2, [], False
    while not ended:
        actions.append(expert.act(world))
        _, terminated, truncated, info = environment.advance(actions[-1])
        places.append(world.end_effector_position_world().copy())
        ended = terminated or truncated
    accelerations = np.linalg.norm(np.diff(places, 2, axis=0), axis=1) * CONTROL_HZ**2
    return bool(info["success"]), np.stack(actions), accelerations


@pytest.mark.parametrize("name", _TASKS)
def test_acceleration_is_bounded_at_little_cost_of_time(name: str) -> None:
    environment = environment_of(get_task(name))
    slower, alone_largest = [], 0.0
    for seed in (1, 2, 3):
        alone_success, alone, alone_accelerations = _episode(environment, make_planner(environment.task), seed)
        success, actions, accelerations = _episode(environment, make_expert(environment.task), seed)
        assert alone_success
        assert success
        changes = np.diff(actions, axis=0, prepend=np.zeros((1, 7)))
        assert np.linalg.norm(changes[:, :3], axis=1).max() <= _LARGEST_CHANGE
        assert np.linalg.norm(changes[:, 3:6], axis=1).max() <= _LARGEST_CHANGE
        assert accelerations.max() < _LARGEST_ACCELERATION
        alone_largest = max(alone_largest, float(alone_accelerations.max()))
        slower.append(len(actions) - len(alone))
    assert alone_largest > _LARGEST_ACCELERATION
    assert np.mean(slower) <= 5


def test_the_gripper_answers_at_once() -> None:
    wanted = np.array([[0, 0, 0, 0, 0, 0, -1], [0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, -1]])
    expert = SmoothMotion(Jerky(wanted))
    assert [float(expert.act(None)[6]) for _ in wanted] == [-1, 1, -1]  # type: ignore[arg-type]


def test_a_turn_stays_in_its_plane_and_ends_where_it_was_meant_to() -> None:
    towards, away = np.array([0.6, 0.3, 0, 0, 0, 0.5, 1]), np.array([-0.6, -0.3, 0, 0, 0, -0.5, 1])
    expert = SmoothMotion(Jerky(np.stack([towards] * 3 + [away] * 5)))
    actions = np.stack([expert.act(None) for _ in range(8)])  # type: ignore[arg-type]
    assert actions[2] == pytest.approx(towards)
    assert actions[7] == pytest.approx(away)
    assert np.linalg.norm(np.diff(actions[:, :3], axis=0), axis=1).max() <= _LARGEST_CHANGE
    assert actions[:, 1] == pytest.approx(actions[:, 0] / 2)


def test_each_arm_of_two_is_limited_by_itself() -> None:
    wanted = np.concatenate([[0.3, 0, 0, 0, 0, 0, 1], [0.9, 0, 0, 0, 0, 0, -1]])
    action = SmoothMotion(Jerky(wanted[None])).act(None)  # type: ignore[arg-type]
    assert action == pytest.approx([0.3, 0, 0, 0, 0, 0, 1, 0.4, 0, 0, 0, 0, 0, -1])


def test_an_episode_begins_at_rest() -> None:
    expert = SmoothMotion(Jerky(np.full((4, 7), 0.9)))
    first, _ = (expert.act(None) for _ in range(2))  # type: ignore[arg-type]
    expert.reset(None, np.random.default_rng(0))  # type: ignore[arg-type]
    assert np.array_equal(expert.act(None), first)  # type: ignore[arg-type]
