import os
import pickle
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests.evaluation.tiny_environment import FIELDS, ImageSpec, TinySpec, episodes
from vla_bench.core.errors import RenderingError
from vla_bench.core.types import FloatArray, Observation
from vla_bench.core.worker_process import WorkerProcess, send_message
from vla_bench.evaluation.environment_slots import EnvironmentFacts
from vla_bench.evaluation.rollout import FinishedEpisode, Rollout
from vla_bench.evaluation.worker_pool import WorkerPool, WorkerStartError
from vla_bench.policies import PolicyBase


class Forward(PolicyBase):
    """Moves forward, and kills a worker at its `kill_at`-th call."""

    def __init__(self, pool: WorkerPool, kill_at: int = -1) -> None:
        self.pool, self.kill_at, self.calls = pool, kill_at, 0

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        self.calls += 1
        if self.calls == self.kill_at:
            os.kill(self.pool.pids[0], signal.SIGKILL)
        return np.full((len(rows), 1, 7), 0.5)


def run(tasks: dict[str, int], *, kill_at: int = -1, stall_s: float = 60.0) -> tuple[dict[str, list[str]], int]:
    """Run some episodes of each task on two workers; return outcomes and errors by task, and the workers replaced."""
    pool = WorkerPool(TinySpec(), "tiny.reach", workers=2, slots_per_worker=2, stall_s=stall_s)
    finished: list[FinishedEpisode] = []
    try:
        assert pool.start() == EnvironmentFacts(FIELDS, 7)
        plan = [episode for task, count in tasks.items() for episode in episodes(count, task)]
        Rollout(Forward(pool, kill_at), pool, finished.append, retries=1).run(plan)
    finally:
        pool.close()
    assert not any(worker.process.is_alive() for worker in pool._workers)
    assert len(finished) == len(plan)
    outcomes = {task: list[str]() for task in tasks}
    for item in finished:
        outcomes[item.episode.task].append(f"{item.result.outcome} {item.result.error}".strip())
    return {task: sorted(texts) for task, texts in outcomes.items()}, pool.replaced


def test_episodes_run_in_worker_processes() -> None:
    outcomes, replaced = run({"reach": 9, "broken": 1})
    assert outcomes["reach"] == ["success"] * 9
    assert outcomes["broken"][0].startswith("error Traceback")
    assert "the world broke" in outcomes["broken"][0]
    assert replaced == 0


def test_a_killed_worker_is_replaced_and_its_episodes_are_run_again() -> None:
    assert run({"reach": 6}, kill_at=4) == ({"reach": ["success"] * 6}, 1)


def test_only_the_episode_that_kills_its_worker_is_an_error() -> None:
    outcomes, replaced = run({"reach": 3, "deadly": 1})
    assert outcomes["reach"] == ["success"] * 3
    assert outcomes["deadly"] == ["error The worker process ended with exit code 7. Tried 2 times."]
    assert replaced == 2


def test_the_error_belongs_to_the_slot_that_killed_its_worker() -> None:
    """Events of other slots may be unread when the worker dies."""
    pool = WorkerPool(TinySpec(), "tiny.reach", workers=1, slots_per_worker=6)
    finished: list[FinishedEpisode] = []
    try:
        pool.start()
        plan = [*episodes(4), *episodes(1, "deadly"), *episodes(8, "push")]
        Rollout(Forward(pool), pool, finished.append, retries=1).run(plan)
    finally:
        pool.close()
    assert {item.episode.task for item in finished if item.result.outcome == "error"} == {"deadly"}
    assert {item.attempts for item in finished if item.result.outcome == "success"} == {1}
    assert len(finished) == len(plan)


@dataclass
class Watching(PolicyBase):
    """Stores all observations, and checks that images and depth belong to their step."""

    chunk: int = 1

    def __post_init__(self) -> None:
        self.kept: list[tuple[int, Observation]] = []

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        for observation in observations:
            steps = round(float(observation["proprioception"][0]) / 0.25)
            self.kept.append((steps, observation))
        return np.full((len(rows), self.chunk, 7), 0.25)

    def check(self) -> None:
        for steps, observation in self.kept:
            for name in ("agentview", "wrist"):
                assert (observation["images"][name] == steps).all()
                assert (observation["depth"][name] == steps).all()


def test_images_belong_to_their_step_and_do_not_change_later() -> None:
    pool = WorkerPool(ImageSpec(image_size=48, depth=True), "tiny.reach", workers=2, slots_per_worker=3)
    policy = Watching()
    try:
        pool.start()
        Rollout(policy, pool, lambda finished: None).run(episodes(12))
    finally:
        pool.close()
    assert len(policy.kept) == 12 * 12
    policy.check()


@pytest.mark.parametrize("chunk", [1, 4])
def test_messages_between_processes_are_few_and_small(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One command per chunk and per episode, no more answers than commands, and no image in any message."""
    sizes: list[int] = []
    answers: list[int] = []

    def sent(process: WorkerProcess, message: object) -> None:
        sizes.append(len(pickle.dumps(message)))
        send_message(process.connection, message)

    class Counted(WorkerPool):
        def start(self) -> EnvironmentFacts:
            facts = super().start()
            for worker in self._workers:
                received = worker.received

                def count(received: Any = received) -> Any:
                    answers.append(1)
                    return received()

                worker.received = count  # type: ignore[method-assign]
            return facts

    monkeypatch.setattr(WorkerProcess, "send", sent)
    pool = Counted(ImageSpec(), "tiny.reach", workers=1, slots_per_worker=8)
    try:
        pool.start()
        Rollout(Watching(chunk), pool, lambda finished: None).run(episodes(16))
    finally:
        pool.close()
    assert len(sizes) == 16 * (1 + 12 // chunk)
    assert len(answers) <= len(sizes)
    assert max(sizes) < 1000


def test_a_worker_executes_commands_during_inference() -> None:
    """The worker executes the commands of other slots, although the main process does not read its events."""

    class Slow(Watching):
        overlapped = 0

        def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
            worker = pool._workers[0]
            if worker._unanswered:
                last, deadline_s = worker._unanswered[-1], time.monotonic() + 20.0
                while worker._shared.busy_with.value != last and time.monotonic() < deadline_s:
                    time.sleep(0.001)
                assert worker._shared.busy_with.value == last, "the worker waits for us"
                self.overlapped += 1
            return super().act(observations, rows=rows)

    pool, policy = WorkerPool(ImageSpec(), "tiny.reach", workers=1, slots_per_worker=8), Slow()
    try:
        pool.start()
        Rollout(policy, pool, lambda finished: None).run(episodes(16))
    finally:
        pool.close()
    assert policy.overlapped > 0


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
def test_broken_environments_are_reported_before_the_first_episode(how: str, message: str) -> None:
    pool = WorkerPool(Unusable(how=how), "tiny.reach", workers=1, slots_per_worker=1)
    with pytest.raises(WorkerStartError, match=message):
        pool.start()
    assert not any(worker.process.is_alive() for worker in pool._workers)


def test_workers_end_with_the_main_process() -> None:
    """A worker ends when its pipe closes, also after a kill of the main process."""
    pool = WorkerPool(TinySpec(), "tiny.reach", workers=1, slots_per_worker=1)
    pool.start()
    process = pool._workers[0].process
    pool._workers[0].connection.close()
    process.join()
    assert process.exit_code == 0
