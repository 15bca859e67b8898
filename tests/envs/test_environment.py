"""The Gymnasium environment with the tabletop engine: end of episodes, restored states, invalid input.

`test_contract.py` tests every task of every suite.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest

import vla_bench
from vla_bench.core.env_options import EnvOptions
from vla_bench.core.errors import ConventionError
from vla_bench.core.types import FloatArray
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.envs.tabletop.simulation import TabletopSimulation
from vla_bench.experts import make_expert
from vla_bench.tasks import Goal, Task, get_task

_PICK = get_task("tabletop_pick.pick_red_cube")
_TRANSFER = get_task("tabletop_object.red_cube_in_basket")
_NOOP = np.array([0, 0, 0, 0, 0, 0, -1.0])


def _blind(task: Task) -> VlaBenchEnv:
    return VlaBenchEnv(task, EnvOptions(image_size=32, cameras=()))


@pytest.fixture
def environment() -> Iterator[VlaBenchEnv]:
    made = _blind(_PICK)
    made.reset(seed=0)
    yield made
    made.close()


def _tabletop(environment: VlaBenchEnv) -> TabletopSimulation:
    assert isinstance(environment.simulation, TabletopSimulation)
    return environment.simulation


def _hold(environment: VlaBenchEnv, item: str, height_m: float) -> tuple[float, bool, bool, dict[str, Any]]:
    """Take a step during which an item hangs, by magic, so high above where it began."""
    simulation = _tabletop(environment)
    place = simulation.world.initial_position_world(item) + np.array([0.0, 0.0, height_m])
    first = simulation.compiled.model.joint(f"{item}/free").dofadr[0]
    simulation.data.qvel[first : first + 6] = 0.0
    simulation.move_item(item, place)
    return environment.advance(_NOOP)


def _outcomes(environment: VlaBenchEnv, heights_m: Sequence[float]) -> list[tuple[float, bool, bool]]:
    steps = [_hold(environment, "red_cube", height_m) for height_m in heights_m]
    return [(reward, terminated, bool(info["success"])) for reward, terminated, _, info in steps]


def test_success_requires_consecutive_steps(environment: VlaBenchEnv) -> None:
    assert _PICK.success_steps == 5
    up, down = 0.2, 0.001
    outcomes = _outcomes(environment, [up] * 4 + [down] + [up] * 5)
    assert outcomes[:-1] == [(0.0, False, False)] * 9
    assert outcomes[-1] == (1.0, True, True)


def test_a_reset_restarts_the_count_of_successful_steps(environment: VlaBenchEnv) -> None:
    _outcomes(environment, [0.2] * 4)
    environment.reset(seed=0)
    assert _outcomes(environment, [0.2] * 5) == [(0.0, False, False)] * 4 + [(1.0, True, True)]


def test_progress_and_phase_follow_the_goals(environment: VlaBenchEnv) -> None:
    _, _, _, low = _hold(environment, "red_cube", 0.001)
    _, _, _, high = _hold(environment, "red_cube", 0.2)
    assert (low["progress"], low["phase"]) == (0.0, "reach")
    assert (high["progress"], high["phase"], high["success"]) == (1.0, "done", False)


def test_a_forbidden_event_ends_the_episode_without_success() -> None:
    environment = _blind(replace(_PICK, must_not=(Goal("lifted", ("green_cube",)),)))
    environment.reset(seed=0)
    assert _hold(environment, "green_cube", 0.01)[:3] == (0.0, False, False)
    reward, terminated, truncated, info = _hold(environment, "green_cube", 0.2)
    assert (reward, terminated, truncated, info["success"]) == (0.0, True, False, False)
    with pytest.raises(ConventionError, match="after an episode has ended"):
        environment.advance(_NOOP)


def test_success_on_the_last_step_is_not_a_truncation() -> None:
    environment = _blind(replace(_PICK, horizon=5))
    environment.reset(seed=0)
    steps = [_hold(environment, "red_cube", 0.2) for _ in range(5)]
    assert steps[-1][:3] == (1.0, True, False)


def _expert_until(environment: VlaBenchEnv, phase: str) -> None:
    expert, world = make_expert(environment.task), environment.simulation.world
    expert.reset(world, np.random.default_rng(0))
    info: dict[str, Any] = {"phase": ""}
    while info["phase"] != phase:
        _, terminated, truncated, info = environment.advance(expert.act(world))
        assert (terminated, truncated) == (False, False)


def _following(environment: VlaBenchEnv, actions: FloatArray) -> FloatArray:
    states = []
    for action in actions:
        environment.advance(action)
        states.append(environment.state())
    return np.stack(states)


def test_a_restored_state_continues_bit_for_bit_in_another_environment() -> None:
    """Saved with the cube in the gripper, where contacts and the solver's warm start matter."""
    first, second = _blind(_TRANSFER), _blind(_TRANSFER)
    first.reset(seed=3)
    _expert_until(first, "carry")
    saved = first.state()
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 7))
    actions[:10, 6] = 1.0
    after = _following(first, actions)
    second.reset(seed=8)
    _following(second, actions[:4])
    second.set_state(saved)
    assert np.array_equal(second.state(), saved)
    assert second.simulation.world.in_contact("red_cube", "gripper")
    assert np.array_equal(_following(second, actions), after)
    first.set_state(saved)
    assert np.array_equal(_following(first, actions), after)


def test_the_compiled_model_is_given_as_mjcf(environment: VlaBenchEnv) -> None:
    xml = environment.model_xml()
    assert all(f'name="{item}"' in xml for item in _PICK.objects)
    assert 'name="agentview"' in xml


def test_gymnasium_makes_it_and_passes_options_on() -> None:
    with gymnasium.make(f"vla_bench/{_TRANSFER.id}-v1", image_size=32, cameras=("wrist",), depth=True) as made:
        observation, _ = made.reset(seed=0)
        assert made.unwrapped.task == _TRANSFER
        assert made.observation_space.contains(observation)
        assert observation["images"]["wrist"].shape == (32, 32, 3)
        assert np.array_equal(made.render(), observation["images"]["wrist"])


def test_without_cameras_nothing_is_drawn(environment: VlaBenchEnv) -> None:
    observation, _ = environment.reset(seed=0)
    assert observation["images"] == {}
    assert environment.observation_space.contains(observation)
    with pytest.raises(ConventionError, match=r"created with cameras=\(\)"):
        environment.render()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 8}, r"image_size=8 is out of range\. Expected 16 to 2048 pixels\."),
        ({"image_size": 4096}, "image_size=4096 is out of range"),
        ({"wait_steps": -1}, r"wait_steps=-1 is out of range\. Expected 0 or more\."),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConventionError, match=message):
        vla_bench.make(_PICK.id, **options)


def test_reset_options_are_refused_where_there_are_none(environment: VlaBenchEnv) -> None:
    environment.reset(seed=0, options={})
    with pytest.raises(ConventionError, match="pick_red_cube has no options, but got initial_state"):
        environment.reset(seed=0, options={"initial_state": 3})
