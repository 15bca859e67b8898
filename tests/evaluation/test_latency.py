import time
from collections.abc import Sequence

import numpy as np
import pytest

from tests.evaluation.tiny_environment import OneProcess, episodes
from vla_bench.core.errors import VlaBenchError
from vla_bench.core.types import FloatArray, Observation
from vla_bench.evaluation.latency import DelayedPool, Latency, measure_latency
from vla_bench.evaluation.messages import Execute
from vla_bench.evaluation.rollout import FinishedEpisode, Rollout
from vla_bench.policies import PolicyBase


class Forward(PolicyBase):
    """Moves by a half a step with the gripper closed."""

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        return np.tile(np.array([0.5, 0, 0, 0, 0, 0, 1.0]), (len(rows), 2, 1))


def run(latency: str, count: int = 4, rows: int = 2) -> tuple[OneProcess, list[FinishedEpisode]]:
    pool = OneProcess(rows)
    finished: list[FinishedEpisode] = []
    Rollout(Forward(), DelayedPool(pool, Latency.parse(latency)), finished.append).run(episodes(count))
    return pool, sorted(finished, key=lambda item: item.episode.index)


@pytest.mark.parametrize(
    ("text", "latency"),
    [
        ("120ms±20", Latency(120, 20)),
        ("120ms+-20ms", Latency(120, 20)),
        ("120 +/- 20", Latency(120, 20)),
        ("80ms", Latency(80)),
        ("0", Latency(0)),
        ("12.5", Latency(12.5)),
    ],
)
def test_a_latency_is_parsed(text: str, latency: Latency) -> None:
    assert Latency.parse(text) == latency
    assert Latency.parse(str(latency)) == latency


@pytest.mark.parametrize(
    ("text", "message"), [("soon", "Expected milliseconds"), ("-5", "Expected"), ("10±20", "negative")]
)
def test_an_invalid_latency_is_an_error(text: str, message: str) -> None:
    with pytest.raises(VlaBenchError, match=message):
        Latency.parse(text)


@pytest.mark.parametrize(("latency_ms", "steps"), [(0, 0), (1, 1), (50, 1), (50.1, 2), (120, 3), (150, 3)])
def test_a_response_takes_effect_at_the_first_step_after_its_arrival(latency_ms: float, steps: int) -> None:
    assert Latency(latency_ms).steps(np.random.default_rng(0)) == steps


def test_the_jitter_is_uniform() -> None:
    generator = np.random.default_rng(0)
    drawn = [Latency(100, 60).steps(generator) for _ in range(4000)]  # 40 to 160 ms
    counts = np.bincount(drawn, minlength=5) / len(drawn)
    assert counts == pytest.approx([0, 10 / 120, 50 / 120, 50 / 120, 10 / 120], abs=0.03)


def test_the_simulation_continues_during_inference() -> None:
    pool, finished = run("90ms", count=1, rows=1)
    actions = [command.actions for command in pool.sent if isinstance(command, Execute)]
    assert actions[0][:, 0].tolist() == [0, 0, 0.5, 0.5]
    assert actions[0][:, 6].tolist() == [-1, -1, 1, 1], "before the first answer the gripper is open"
    assert actions[1][:, 6].tolist() == [1, 1, 1, 1], "then it stays as it was commanded"
    assert finished[0].result.steps == 12
    assert finished[0].result.outcome == "success"
    _, at_once = run("0", count=1, rows=1)
    assert at_once[0].result.steps == 6
    _, late = run("150ms", count=1, rows=1)
    assert late[0].result.outcome == "failure", "the horizon came first"


@pytest.mark.parametrize("rows", [1, 3])
def test_delays_depend_on_the_episode_only(rows: int) -> None:
    once, again = run("100±80", count=5)[1], run("100±80", count=5, rows=rows)[1]
    assert [item.result for item in once] == [item.result for item in again]
    assert len({item.result.action_hash for item in once}) > 1


def test_a_measured_latency_is_the_time_that_the_policy_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now_s)

    class Slow(Forward):
        def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
            nonlocal now_s
            now_s += 0.02
            return super().act(observations, rows=rows)

    observation: Observation = {"images": {}, "proprioception": np.zeros(1, np.float32), "instruction": "go"}
    assert measure_latency(Slow(), observation).mean_ms == 20
