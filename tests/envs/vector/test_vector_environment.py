import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import AlreadyPendingCallError, ClosedEnvironmentError, NoAsyncCallError
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import vla_bench
from vla_bench.core.errors import ConventionError, UnknownNameError
from vla_bench.envs.vector.environment import VlaBenchVectorEnv
from vla_bench.envs.vector.worker import EnvironmentProcessError, require_same_spaces

TASKS = ("tabletop_object.red_cube_on_plate", "tabletop_object.milk_box_in_basket")
SIZE = 32
COUNT = 3


def made(mode: AutoresetMode = AutoresetMode.NEXT_STEP, **options: Any) -> VlaBenchVectorEnv:
    return vla_bench.make_vec(TASKS, COUNT, num_workers=2, autoreset_mode=mode, image_size=SIZE, **options)


def made_by_gymnasium(mode: AutoresetMode) -> SyncVectorEnv:
    names = [TASKS[i % 2] for i in range(COUNT)]
    return SyncVectorEnv(
        [lambda name=name: vla_bench.make(name, image_size=SIZE) for name in names],  # type: ignore[misc]
        autoreset_mode=mode,
    )


@pytest.fixture(scope="module")
def ours() -> Iterator[VlaBenchVectorEnv]:
    environment = made()
    yield environment
    environment.close()


def assert_equal(found: Any, expected: Any, where: str = "") -> None:
    assert type(found) is type(expected), where
    if isinstance(expected, dict):
        assert set(found) == set(expected), where
        for key in expected:
            assert_equal(found[key], expected[key], f"{where}.{key}")
    elif (isinstance(expected, np.ndarray) and expected.dtype == object) or isinstance(expected, tuple | list):
        assert len(found) == len(expected), where
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_equal(one, other, f"{where}[{place}]")
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype, where
        np.testing.assert_array_equal(found, expected, where)
    else:
        assert found == expected, where


@pytest.mark.parametrize(
    "mode",
    [
        AutoresetMode.NEXT_STEP,
        pytest.param(AutoresetMode.SAME_STEP, marks=pytest.mark.slow),
        pytest.param(AutoresetMode.DISABLED, marks=pytest.mark.slow),
    ],
)
def test_results_equal_those_of_gymnasiums_own_to_the_bit(mode: AutoresetMode) -> None:
    environments: list[Any] = [made(mode), made_by_gymnasium(mode)]
    try:
        for environment in environments:
            short = [replace(task, horizon=3 + place) for place, task in enumerate(environment.get_attr("task"))]
            environment.set_attr("task", short)  # episodes that end after 3, 4 and 5 steps
        one, other = environments
        for name in ("observation_space", "single_observation_space", "action_space", "single_action_space"):
            assert getattr(one, name) == getattr(other, name)
        assert one.metadata == other.metadata
        assert one.metadata["autoreset_mode"] is mode
        assert_equal(*(environment.reset(seed=11) for environment in environments))
        assert one.np_random_seed == other.np_random_seed == (11, 12, 13)
        actions, ended = np.random.default_rng(5), 0
        for _ in range(8):
            action = actions.uniform(-1, 1, (COUNT, 7)).astype(np.float32)
            steps: list[Any] = [environment.step(action) for environment in environments]
            assert_equal(*steps)
            assert one.observation_space.contains(steps[0][0])
            over = steps[0][2] | steps[0][3]
            ended += int(over.sum())
            if mode is AutoresetMode.DISABLED and over.any():
                assert_equal(*(environment.reset(options={"reset_mask": over.copy()}) for environment in environments))
        assert ended >= 4
        assert_equal(one.render(), other.render())
        assert_equal(
            one.reset(seed=[3, None, 4])[0]["images"]["wrist"][0],
            other.reset(seed=[3, None, 4])[0]["images"]["wrist"][0],
        )
    finally:
        for environment in environments:
            environment.close()


def test_gymnasium_makes_vector_environments_by_id() -> None:
    environment = gymnasium.make_vec(f"vla_bench/{TASKS[0]}-v1", num_envs=2, num_workers=1, image_size=SIZE, cameras=())
    try:
        assert isinstance(environment, VlaBenchVectorEnv)
        observation, _ = environment.reset(seed=0)
        assert observation["images"] == {}
        assert environment.observation_space.contains(observation)
    finally:
        environment.close()


def test_returned_images_are_copies(ours: VlaBenchVectorEnv) -> None:
    first, _ = ours.reset(seed=0)
    kept = first["images"]["agentview"].copy()
    ours.reset(seed=100)
    np.testing.assert_array_equal(first["images"]["agentview"], kept)
    assert not np.shares_memory(first["images"]["agentview"], ours.reset(seed=0)[0]["images"]["agentview"])


def test_a_step_has_two_parts(ours: VlaBenchVectorEnv) -> None:
    still = np.zeros((COUNT, 7), np.float32)
    ours.reset(seed=0)
    with pytest.raises(NoAsyncCallError, match=r"Call step_async\(\) before step_wait\(\)"):
        ours.step_wait()
    ours.step_async(still)
    with pytest.raises(AlreadyPendingCallError, match=r"Call step_wait\(\) first"):
        ours.step(still)
    waited = ours.step_wait()
    ours.reset(seed=0)
    assert_equal(waited[:4], ours.step(still)[:4])


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((COUNT, 6)), r"shape \(3, 6\)\. Expected \(3, 7\)"),
        (np.array([[0.0] * 7, [np.nan] * 7, [0.0] * 7]), "The action of environment 1 is not finite"),
    ],
)
def test_invalid_actions_move_nothing(ours: VlaBenchVectorEnv, actions: Any, message: str) -> None:
    ours.reset(seed=0)
    before = ours.call("state")
    with pytest.raises(ConventionError, match=message):
        ours.step(actions)
    assert_equal(ours.call("state"), before)


def test_invalid_resets_are_refused(ours: VlaBenchVectorEnv) -> None:
    with pytest.raises(ConventionError, match=r"There are 2 seeds\. Expected 3"):
        ours.reset(seed=[1, 2])
    with pytest.raises(ConventionError, match="Expected an array of 3 booleans"):
        ours.reset(options={"reset_mask": [True]})


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("tabletop_object.red_cube_on_plat",), {}, UnknownNameError, "Did you mean"),
        ((TASKS[0], 0), {}, ConventionError, "num_envs is 0. Expected 1 or more"),
        (((),), {}, ConventionError, "task_ids is 0"),
        ((TASKS[0],), {"cameras": ("above",)}, UnknownNameError, "No camera named 'above'"),
    ],
)
def test_invalid_options_leave_no_process_behind(arguments: Any, options: Any, error: Any, message: str) -> None:
    before = set(multiprocessing.active_children())
    with pytest.raises(error, match=message):
        vla_bench.make_vec(*arguments, num_workers=1, image_size=SIZE, **options)
    assert set(multiprocessing.active_children()) <= before, "a process was left behind"


def test_tasks_with_different_spaces_are_refused() -> None:
    one, two = ((gymnasium.spaces.Box(-1, 1, (size,)), gymnasium.spaces.Box(-1, 1, (7 * size,))) for size in (1, 2))
    require_same_spaces("suite.one", one, "suite.other", one)
    with pytest.raises(ConventionError, match=r"Observations of suite\.two and of suite\.one differ"):
        require_same_spaces("suite.one", one, "suite.two", two)
    with pytest.raises(ConventionError, match=r"Actions of suite\.two and of suite\.one differ"):
        require_same_spaces("suite.one", one, "suite.two", (one[0], two[1]))


def test_a_killed_process_is_an_error_and_ends_the_others() -> None:
    environment = made(cameras=())
    processes = [worker.process for worker in environment._workers]
    environment.reset(seed=0)
    os.kill(processes[1].pid, signal.SIGKILL)
    with pytest.raises(EnvironmentProcessError, match="The process of environments 2 to 2 ended with exit code -9"):
        environment.step(np.zeros((COUNT, 7), np.float32))
    assert not any(process.is_alive() for process in processes)
    with pytest.raises(ClosedEnvironmentError):
        environment.reset()
