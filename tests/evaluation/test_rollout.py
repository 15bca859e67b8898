from collections.abc import Callable, Sequence

import numpy as np
import pytest

from tests.evaluation.tiny_environment import HORIZON, OneProcess, TinySpec, episodes
from vla_bench.core.episode import EpisodeIdentity, array_hash
from vla_bench.core.types import FloatArray, Observation
from vla_bench.evaluation.messages import Begin, EpisodeResult, Event, Execute, Lost
from vla_bench.evaluation.rollout import FinishedEpisode, Rollout
from vla_bench.evaluation.rollout_statistics import RolloutStatistics
from vla_bench.policies import Policy, PolicyBase, load_policy

Result = Callable[[FloatArray, int], FloatArray]  # the actions of a batch and the position of the bad slot in it


class Forward(PolicyBase):
    """Moves by `speed` per step in chunks of `chunk` steps, and records batch sizes and instructions."""

    def __init__(self, speed: float = 0.5, chunk: int = 1) -> None:
        self.speed, self.chunk = speed, chunk
        self.batches: list[int] = []
        self.instructions: dict[int, str] = {}

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        self.instructions.update(zip(rows, instructions, strict=True))

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        self.batches.append(len(rows))
        for row, observation in zip(rows, observations, strict=True):
            assert self.instructions[row] == observation["instruction"], "reset is called for each new episode"
        return np.full((len(rows), self.chunk, 7), self.speed)


class Failing(Forward):
    """Raises or returns invalid actions if `bad` is true for an observation of the batch."""

    def __init__(self, bad: Callable[[Observation], bool], result: "Result | None" = None) -> None:
        super().__init__()
        self.bad, self.result = bad, result

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        actions = super().act(observations, rows=rows)
        for position, observation in enumerate(observations):
            if self.bad(observation):
                if self.result is None:
                    raise RuntimeError("the network broke")
                actions = self.result(actions, position)
        return actions


def run(policy: Policy, plan: Sequence[EpisodeIdentity], rows: int = 3) -> dict[EpisodeIdentity, EpisodeResult]:
    finished: list[FinishedEpisode] = []
    Rollout(policy, OneProcess(rows), finished.append).run(plan)
    assert len(finished) == len({episode.episode for episode in finished}), "each episode ends once"
    return {episode.episode: episode.result for episode in finished}


def is_of(episode: EpisodeIdentity) -> Callable[[Observation], bool]:
    return lambda observation: observation["instruction"].endswith(str(episode.scene_seed()))


def test_every_episode_has_a_complete_result() -> None:
    plan = episodes(5)
    results = run(Forward(), plan)
    assert set(results) == set(plan)
    result = results[plan[4]]
    assert result == EpisodeResult(
        "success",
        instruction=f"reach {plan[4].scene_seed()}",
        scene_hash=f"scene {plan[4].scene_seed()}",
        action_hash=array_hash(np.full((6, 7), 0.5, np.float32)),
        reward=1.0,
        steps=6,
        progress=1.0,
        phase="reach",
        final_progress=1.0,
        final_phase="reach",
        rollout_statistics=RolloutStatistics(path_length_m=3.0, drops=0, disturbed=0, peak_force_n=0.0),
    )


def test_the_horizon_ends_an_episode_as_a_failure() -> None:
    result = run(Forward(speed=0.125), episodes(1))[episodes(1)[0]]
    assert (result.outcome, result.steps, result.progress) == ("failure", HORIZON, HORIZON * 0.125 / 3)


def test_actions_are_clipped_before_they_are_executed() -> None:
    result = run(Forward(speed=9.0), episodes(1))[episodes(1)[0]]
    assert result.steps == 3
    assert result.action_hash == array_hash(np.ones((3, 7), np.float32))


@pytest.mark.parametrize("chunk", [2, 4])
def test_a_chunk_is_executed_without_rendering_and_stops_at_success(chunk: int) -> None:
    spec = TinySpec()
    pool = OneProcess(1, spec)
    policy = Forward(chunk=chunk)
    finished: list[FinishedEpisode] = []
    Rollout(policy, pool, finished.append).run(episodes(1))
    assert finished[0].result.steps == 6
    assert len(policy.batches) == -(-6 // chunk)
    assert [made.renders for made in spec.made] == [len(policy.batches)], "never inside a chunk"


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_results_do_not_depend_on_the_number_of_slots(rows: int) -> None:
    assert run(load_policy("random"), episodes(7), rows) == run(load_policy("random"), episodes(7), 2)


def test_a_finished_slot_is_refilled_at_once() -> None:
    def hurry(actions: FloatArray, position: int) -> FloatArray:
        actions[position] *= 2
        return actions

    policy = Failing(is_of(episodes(1)[0]), hurry)  # the first episode is over after 3 steps, the others after 6
    run(policy, episodes(4), rows=3)
    assert policy.batches == [3, 3, 3, 2, 3, 3, 1, 1, 1, 1]  # 2: during the reset of the fourth episode


def test_an_exception_of_the_policy_is_an_error_of_its_episode_only() -> None:
    plan = episodes(6)
    results = run(Failing(is_of(plan[1])), plan)
    assert results[plan[1]].outcome == "error"
    assert "RuntimeError: the network broke" in results[plan[1]].error
    assert results[plan[1]].scene_hash == f"scene {plan[1].scene_seed()}"
    clean = run(Forward(), plan)
    assert all(results[episode] == clean[episode] for episode in plan if episode != plan[1])


def test_a_policy_that_always_raises_makes_every_episode_an_error() -> None:
    results = run(Failing(lambda observation: True), episodes(5))
    assert [result.outcome for result in results.values()] == ["error"] * 5


def test_non_finite_actions_are_an_error_of_their_episode() -> None:
    plan = episodes(4)

    def spoil(actions: FloatArray, position: int) -> FloatArray:
        actions[position, 0, 3] = np.nan
        return actions

    results = run(Failing(is_of(plan[2]), spoil), plan)
    assert [results[episode].outcome for episode in plan] == ["success", "success", "error", "success"]
    assert "not finite" in results[plan[2]].error


def test_a_wrong_action_shape_is_an_error_of_its_episode() -> None:
    plan = episodes(4)
    results = run(Failing(is_of(plan[0]), lambda actions, position: actions[..., :6]), plan)
    assert [results[episode].outcome for episode in plan] == ["error", "success", "success", "success"]
    assert "Expected (1, H, 7)" in results[plan[0]].error


def test_a_policy_that_fails_to_begin_an_episode_makes_it_an_error() -> None:
    class Deaf(Forward):
        def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
            if instructions[0].endswith(str(episodes(3)[1].scene_seed())):
                raise ValueError("cannot read")
            super().reset(instructions, rows=rows, seeds=seeds)

    results = run(Deaf(), episodes(3))
    assert [results[episode].outcome for episode in episodes(3)] == ["success", "error", "success"]


@pytest.mark.parametrize(("task", "message", "steps"), [("broken", "the world broke", 2), ("unmakeable", "no such", 0)])
def test_an_exception_in_an_environment_is_an_error_with_its_traceback(task: str, message: str, steps: int) -> None:
    plan = [*episodes(2, task), *episodes(2)]
    results = run(Forward(), plan)
    assert [results[episode].outcome for episode in plan] == ["error", "error", "success", "success"]
    assert message in results[plan[0]].error
    assert "Traceback" in results[plan[0]].error
    assert results[plan[0]].steps == steps


class Deadly(OneProcess):
    """Loses both slots when the first episode executes actions, `times` times."""

    def __init__(self, times: int) -> None:
        super().__init__(2)
        self.times = times

    def events(self) -> list[Event]:
        begun = [command for command in self.sent if isinstance(command, Begin) and command.episode.index == 0]
        guilty = begun[-1].slot
        if self.times and any(isinstance(command, Execute) and command.slot == guilty for command in self._commands):
            self.times -= 1
            self._commands = []
            self.simulated.close()
            return [Lost(slot, "The worker died.", at_fault=slot == guilty) for slot in range(self.slots)]
        return super().events()


@pytest.mark.parametrize(("deaths", "outcome"), [(1, "success"), (2, "success"), (3, "error")])
def test_an_episode_is_retried_a_limited_number_of_times_when_its_worker_dies(deaths: int, outcome: str) -> None:
    finished: list[FinishedEpisode] = []
    pool = Deadly(deaths)
    Rollout(Forward(), pool, finished.append, retries=2).run(episodes(2))
    results = {episode.episode.index: episode.result for episode in finished}
    assert results[0].outcome == outcome
    assert results[1].outcome == "success"  # it ran in the same process
    begun = [command.episode.index for command in pool.sent if isinstance(command, Begin)]
    assert begun.count(0) == 1 + min(deaths, 2)
    if outcome == "error":
        assert results[0].error == "The worker died. Tried 3 times."
