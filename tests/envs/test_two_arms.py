"""Tasks with two arms: an action has 14 numbers, the right arm's first."""

from collections.abc import Iterator

import gymnasium
import numpy as np
import pytest

import vla_bench
from vla_bench.core.errors import ConventionError, UnknownNameError
from vla_bench.core.types import FloatArray, Observation, TwoArmWorld
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.experts import make_expert

_RIGHT, _LEFT = slice(0, 7), slice(7, 14)


@pytest.fixture(scope="module")
def environment() -> Iterator[VlaBenchEnv]:
    made = vla_bench.make("robosuite_two_arm.two_arm_lift", cameras=())
    yield made
    made.close()


def _end_effector_positions(environment: VlaBenchEnv) -> tuple[FloatArray, FloatArray]:
    world = environment.simulation.world
    assert isinstance(world, TwoArmWorld)
    return (
        world.arm("right").end_effector_position_world().copy(),
        world.arm("left").end_effector_position_world().copy(),
    )


def test_an_action_has_7_numbers_for_each_arm(environment: VlaBenchEnv) -> None:
    assert environment.action_dim == 14
    assert environment.action_space == gymnasium.spaces.Box(-1.0, 1.0, (14,), np.float32)


def test_an_action_for_one_arm_is_refused(environment: VlaBenchEnv) -> None:
    environment.reset(seed=0)
    with pytest.raises(ConventionError, match=r"shape \(7,\)\. Expected \(14,\): 7 numbers for each of 2 arms"):
        environment.step(np.zeros(7))


@pytest.mark.parametrize(("numbers", "moves", "stays"), [(_RIGHT, 0, 1), (_LEFT, 1, 0)])
def test_each_arm_follows_its_own_numbers(environment: VlaBenchEnv, numbers: slice, moves: int, stays: int) -> None:
    environment.reset(seed=0)
    before = _end_effector_positions(environment)
    action = np.zeros(14)
    action[numbers] = [0, 0, 1, 0, 0, 0, -1]
    for _ in range(5):
        environment.advance(action)
    after = _end_effector_positions(environment)
    assert after[moves][2] - before[moves][2] > 0.03
    assert np.linalg.norm(after[stays] - before[stays]) < 0.005


def test_the_right_arm_is_on_the_right(environment: VlaBenchEnv) -> None:
    environment.reset(seed=0)
    right, left = _end_effector_positions(environment)
    assert right[1] < -0.1 < 0.1 < left[1]  # robots face along x


def test_proprioception_has_the_fields_of_both_arms(environment: VlaBenchEnv) -> None:
    observation, _ = environment.reset(seed=0)
    fields = _fields(environment, observation)
    right, left = _end_effector_positions(environment)
    assert np.allclose(fields["right_end_effector_position"], right, atol=1e-6)
    assert np.allclose(fields["left_end_effector_position"], left, atol=1e-6)
    names = [name.removeprefix("right_") for name in fields if name.startswith("right_")]
    assert names == [name.removeprefix("left_") for name in fields if name.startswith("left_")]
    assert observation["proprioception"].shape == (50,)


def _fields(environment: VlaBenchEnv, observation: Observation) -> dict[str, FloatArray]:
    sizes = [field.size for field in environment.proprioception_fields]
    parts = np.split(observation["proprioception"], np.cumsum(sizes)[:-1])
    return {field.name: part for field, part in zip(environment.proprioception_fields, parts, strict=True)}


def test_a_missing_arm_is_refused() -> None:
    one_arm = vla_bench.make("robosuite.lift", cameras=())
    world = one_arm.simulation.world
    with pytest.raises(UnknownNameError, match="No arm of this scene named 'left'"):
        world.arm("left")  # type: ignore[attr-defined]
    one_arm.close()


def test_the_expert_recovers_after_one_arm_drops_the_pot(environment: VlaBenchEnv) -> None:
    environment.reset(seed=1)
    expert, world = make_expert(environment.task), environment.simulation.world
    expert.reset(world, np.random.default_rng(0))
    success, lost = False, 0
    for _ in range(environment.task.horizon):
        action = expert.act(world)
        if expert.phase == "lift" and lost < 6:
            action[_LEFT] = [0, 0, 0.5, 0, 0, 0, -1]
            lost += 1
        _, terminated, truncated, info = environment.advance(action)
        success = bool(info["success"])
        if terminated or truncated:
            break
    assert lost == 6
    assert success
