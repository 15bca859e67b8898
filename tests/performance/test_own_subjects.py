"""What is measured of ours is what it says it is."""

import mujoco
import numpy as np
import pytest

from vla_bench.envs.environment import make
from vla_bench.performance.workloads import TABLETOP, environments, physics
from vla_bench.performance.workloads import environments as task_after_task


@pytest.mark.parametrize("part", ["whole", "advance", "simulate", "observe", "draw"])
def test_a_part_of_a_step_is_a_part(part: str) -> None:
    subject = environments.make_task({"task_id": TABLETOP, "part": part, "image_size": 64})
    subject.reset()
    before = subject.env.state()
    assert subject.step() is False
    moved = not np.array_equal(before, subject.env.state())
    assert moved == (part in {"whole", "advance", "simulate"})


def test_physics_alone_goes_through_the_states_of_the_episode() -> None:
    alone = physics.make_physics({"task_id": TABLETOP})
    env = make(TABLETOP, cameras=())
    env.reset(seed=1)
    generator = np.random.default_rng(0)
    for _ in range(3):  # 50 ms under the last torque of the step, against torques that are computed anew
        alone.step()
        env.advance(generator.uniform(-0.3, 0.3, 7))
        reached = mujoco.MjData(env.simulation.models()[0])
        mujoco.mj_setState(env.simulation.models()[0], reached, env.state(), mujoco.mjtState.mjSTATE_INTEGRATION)
        assert alone._data.time == pytest.approx(reached.time)
        assert 0 < np.abs(alone._data.qpos - reached.qpos).max() < 0.05  # rad and m


def test_environments_of_the_bare_loop_take_turns_and_begin_anew() -> None:
    subject = environments.make_episodes({"task_id": TABLETOP, "image_size": 64, "cameras": (), "rows": 2})
    subject.reset()
    horizon = subject._envs[0].task.horizon
    for _ in range(2 * horizon):
        subject.step()
    assert subject._seed == 4  # two episodes each
    assert [env._steps for env in subject._envs] == [0, 0]


def test_tasks_come_one_after_the_other() -> None:
    subject = task_after_task.make_task_sequence({})
    assert len(subject._ids) >= 40
    subject.step()
    assert subject._next == 1
