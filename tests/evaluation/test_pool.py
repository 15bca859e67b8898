import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests.evaluation.tiny_environment import FIELDS, TinySpec, episodes
from vla_bench.core.errors import RenderingError
from vla_bench.core.types import FloatArray, Observation
from vla_bench.envs.vector.processes import process_variables
from vla_bench.evaluation.pool import WorkerPool, WorkerStartError
from vla_bench.evaluation.rollout import FinishedEpisode, Rollout
from vla_bench.evaluation.rows import EnvironmentFacts
from vla_bench.policies import PolicyBase


class Forward(PolicyBase):
    """Moves on, and kills a worker at its `kill_at`-th call."""

    def __init__(self, pool: WorkerPool, kill_at: int = -1) -> None:
        self.pool, self.kill_at, self.calls = pool, kill_at, 0

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        self.calls += 1
        if self.calls == self.kill_at:
            os.kill(self.pool.pids[0], signal.SIGKILL)
        return np.full((len(rows), 1, 7), 0.5)


def run(tasks: dict[str, int], *, kill_at: int = -1, stall_s: float = 60.0) -> tuple[dict[str, list[str]], int]:
    """Run some episodes of each task on two workers; return outcomes and errors by task, and the workers replaced."""
    pool = WorkerPool(TinySpec(), "tiny.reach", workers=2, rows_per_worker=2, stall_s=stall_s)
    finished: list[FinishedEpisode] = []
    try:
        assert pool.start() == EnvironmentFacts(FIELDS, 7)
        plan = [episode for task, count in tasks.items() for episode in episodes(count, task)]
        Rollout(Forward(pool, kill_at), pool, finished.append, retries=1).run(plan)
    finally:
        pool.close()
    assert not any(worker.process.is_alive() for worker in pool._workers)
    assert len(finished) == len(plan)
    results = [item.result for item in finished]
    told = {task: sorted(f"{r.outcome} {r.error}".strip() for r in results if r.episode.task == task) for task in tasks}
    return told, pool.replaced


def test_episodes_run_in_processes_and_come_back() -> None:
    outcomes, replaced = run({"reach": 9, "broken": 1})
    assert outcomes["reach"] == ["success"] * 9
    assert outcomes["broken"][0].startswith("error Traceback")
    assert "the world broke" in outcomes["broken"][0]
    assert replaced == 0


def test_a_killed_worker_is_replaced_and_its_episodes_are_run_again() -> None:
    assert run({"reach": 6}, kill_at=4) == ({"reach": ["success"] * 6}, 1)


def test_an_episode_that_kills_its_worker_is_an_error_and_no_other_is() -> None:
    outcomes, replaced = run({"reach": 3, "deadly": 1})
    assert outcomes["reach"] == ["success"] * 3
    assert outcomes["deadly"] == ["error The worker process ended with exit code 7. Tried 2 times."]
    assert replaced == 2


def test_an_episode_that_hangs_is_an_error() -> None:
    outcomes, _ = run({"reach": 1, "hanging": 1}, stall_s=2.0)
    assert outcomes["reach"] == ["success"]
    assert outcomes["hanging"] == ["error The worker process hung: no answer for 2 s. Tried 2 times."]


@dataclass(frozen=True)
class Unusable(TinySpec):
    """Environments that do not work on this machine."""

    how: str = ""

    def make(self, task_id: str, perturbation: str = "") -> Any:
        if self.how == "dies":
            os._exit(3)
        raise RenderingError("no EGL") if self.how == "user" else ZeroDivisionError("in the engine")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("user", r"^Cannot render off screen: no EGL\. Install EGL .*MUJOCO_GL=osmesa\)\.$"),
        ("bug", "ZeroDivisionError: in the engine"),
        ("dies", "The worker process died 3 times while it started.*__main__"),
    ],
)
def test_environments_that_do_not_work_end_the_run_before_its_first_episode(how: str, message: str) -> None:
    pool = WorkerPool(Unusable(how=how), "tiny.reach", workers=1, rows_per_worker=1)
    with pytest.raises(WorkerStartError, match=message):
        pool.start()
    assert not any(worker.process.is_alive() for worker in pool._workers)


def test_workers_end_with_the_main_process() -> None:
    """A worker whose pipe closes ends by itself: nothing is left after a kill of the main process."""
    pool = WorkerPool(TinySpec(), "tiny.reach", workers=1, rows_per_worker=1)
    pool.start()
    process = pool._workers[0].process
    pool._workers[0].connection.close()
    process.join(20)
    assert process.exitcode == 0


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    for name in ("LP_NUM_THREADS", "OMP_NUM_THREADS", "MUJOCO_GL"):
        monkeypatch.delenv(name, raising=False)
    assert process_variables(3)["LP_NUM_THREADS"] == "2"
    assert process_variables(16)["OMP_NUM_THREADS"] == "1"
    assert process_variables(8)["LP_NUM_THREADS"] == "0"
    assert process_variables(1)["MUJOCO_GL"] == "egl"
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert process_variables(1)["MUJOCO_GL"] == "osmesa"
