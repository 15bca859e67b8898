"""Workloads of this package do the work that their names state."""

import mujoco
import numpy as np
import pytest

from vla_bench.envs.environment import make
from vla_bench.performance.workloads import TABLETOP, environments, physics


@pytest.mark.parametrize("part", ["whole", "advance", "simulate", "observe", "render"])
def test_part_of_a_step_moves_the_simulation_or_not(part: str) -> None:
    workload = environments.make_task({"task_id": TABLETOP, "part": part, "image_size": 64})
    workload.reset()
    before = workload.env.state()
    assert workload.step() is False
    moved = not np.array_equal(before, workload.env.state())
    assert moved == (part in {"whole", "advance", "simulate"})


def test_physics_workload_replays_the_states_of_the_episode() -> None:
    alone = physics.make_physics({"task_id": TABLETOP})
    env = make(TABLETOP, cameras=())
    env.reset(seed=1)
    generator = np.random.default_rng(0)
    for _ in range(3):  # 50 ms under the last torque of the step instead of torques computed in each substep
        alone.step()
        env.advance(generator.uniform(-0.3, 0.3, 7))
        reached = mujoco.MjData(env.simulation.models()[0])
        mujoco.mj_setState(env.simulation.models()[0], reached, env.state(), mujoco.mjtState.mjSTATE_INTEGRATION)
        assert alone._data.time == pytest.approx(reached.time)
        assert 0 < np.abs(alone._data.qpos - reached.qpos).max() < 0.05  # rad and m


def test_episodes_workload_alternates_environments_and_resets_them() -> None:
    workload = environments.make_episodes({"task_id": TABLETOP, "image_size": 64, "cameras": (), "rows": 2})
    workload.reset()
    horizon = workload._envs[0].task.horizon
    for _ in range(2 * horizon):
        workload.step()
    assert workload._seed == 4  # two episodes each
    assert [env._steps for env in workload._envs] == [0, 0]


def test_task_sequence_advances_one_task_per_step() -> None:
    workload = environments.make_task_sequence({})
    assert len(workload._ids) >= 40
    workload.step()
    assert workload._next == 1
