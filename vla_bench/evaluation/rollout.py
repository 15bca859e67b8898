"""The rollout loop: batches observations of ready environment slots, queries the policy, and refills finished slots."""

import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.types import ACTION_DIM, FloatArray, Observation
from vla_bench.evaluation.messages import Abandon, Begin, Command, EpisodeResult, Event, Execute, Finished, Lost, Ready
from vla_bench.policies.policy import Policy, as_chunks

_MAX_RETRIES = 2  # of an episode whose worker died


class Pool(Protocol):
    """Environment slots that execute commands."""

    @property
    def slots(self) -> int:
        """The number of slots."""

    def send(self, command: Command) -> None:
        """Send a command to its slot, which answers with one event."""

    def events(self) -> list[Event]:
        """Wait for events and return all that have arrived."""


@dataclass(frozen=True)
class FinishedEpisode:
    """The result and the duration of an episode."""

    episode: EpisodeIdentity
    result: EpisodeResult
    wall_s: float
    policy_s: float  # part of `wall_s` spent waiting for the policy
    attempts: int = 1  # including those that ended with their worker


@dataclass
class _Attempt:
    """One attempt at an episode."""

    episode: EpisodeIdentity
    deaths: int = 0  # workers that died while they ran it
    alone: bool = False  # acts in a batch of its own, because a batch with it failed
    begun: float = 0.0
    policy_s: float = 0.0
    policy_reset: bool = False  # the policy was reset for the episode
    observation: Observation | None = None  # set while the slot waits for actions


class Rollout:
    """Runs episodes until they end; each episode leads to exactly one call of `on_finished`.

    If the policy raises for a batch, the episodes of the batch start again, each in a batch of its own, so that only
    episodes for which the policy fails alone become errors. `video_of` returns the MP4 path of episodes to record,
    `blocks` splits the ready slots into the batches of the policy.
    """

    def __init__(
        self,
        policy: Policy,
        pool: Pool,
        on_finished: Callable[[FinishedEpisode], None],
        *,
        retries: int = _MAX_RETRIES,
        video_of: Callable[[EpisodeIdentity], Path | None] = lambda episode: None,
        blocks: Callable[[Sequence[int]], Sequence[list[int]]] = lambda slots: [list(slots)],
        action_dim: int = ACTION_DIM,
    ) -> None:
        self._policy, self._pool, self._on_finished = policy, pool, on_finished
        self._retries, self._video_of, self._blocks = retries, video_of, blocks
        self._action_dim = action_dim
        self._waiting: deque[_Attempt] = deque()
        self._active: dict[int, _Attempt] = {}  # by slot

    def run(self, episodes: Iterable[EpisodeIdentity]) -> None:
        """Run all `episodes`, as many at a time as there are slots."""
        self._waiting.extend(_Attempt(episode) for episode in episodes)
        self._refill()
        while self._active:
            for event in self._pool.events():
                self._handle(event)
            self._refill()  # before inference, so that new episodes are reset in the meantime
            ready = [slot for slot, attempt in self._active.items() if attempt.observation is not None]
            # Inference for one half of the slots overlaps with the simulation of the other half.
            if ready and 2 * len(ready) >= len(self._active):
                self._act(ready)
                self._refill()

    def _refill(self) -> None:
        for slot in range(self._pool.slots):
            if not self._waiting:
                return
            if slot not in self._active:
                attempt = self._waiting.popleft()
                attempt.begun = time.perf_counter()
                self._active[slot] = attempt
                self._pool.send(Begin(slot, attempt.episode, self._video_of(attempt.episode)))

    def _handle(self, event: Event) -> None:
        attempt = self._active.get(event.slot)
        if attempt is None:
            return  # a lost slot without an episode
        if isinstance(event, Ready):
            attempt.observation = event.observation
            if not attempt.policy_reset:
                self._reset_policy(event.slot, attempt, event.observation)
        elif isinstance(event, Finished):
            self._finish(event.slot, event.result)
        else:
            self._retry(event, attempt)

    def _reset_policy(self, slot: int, attempt: _Attempt, observation: Observation) -> None:
        seed = int(attempt.episode.generator("policy").integers(2**31))
        try:
            self._policy.reset([observation["instruction"]], rows=[slot], seeds=[seed])
        except Exception:
            self._abandon(slot, traceback.format_exc())
        attempt.policy_reset = True

    def _act(self, ready: Sequence[int]) -> None:
        alone = [slot for slot in ready if self._active[slot].alone]
        together = [slot for slot in ready if not self._active[slot].alone]
        for batch in [*([slot] for slot in alone), *(self._blocks(together) if together else [])]:
            self._act_together(batch)

    def _act_together(self, slots: list[int]) -> None:
        begun = time.perf_counter()
        try:
            actions = self._policy.act([self._observation(slot) for slot in slots], rows=slots)
            chunks = as_chunks(actions, len(slots), self._action_dim)
        except Exception:
            self._retry_separately(slots, traceback.format_exc())
            return
        for slot, chunk in zip(slots, chunks, strict=True):
            self._active[slot].policy_s += time.perf_counter() - begun
            self._send(slot, chunk)

    def _send(self, slot: int, chunk: FloatArray) -> None:
        if not np.isfinite(chunk).all():
            self._abandon(slot, f"PolicyOutputError: the policy returned actions that are not finite: {chunk.tolist()}")
            return
        self._active[slot].observation = None
        self._pool.send(Execute(slot, chunk))

    def _retry_separately(self, slots: list[int], error: str) -> None:
        """Start the episodes of a failed batch again one by one, or end the episode of a single slot as an error."""
        if len(slots) == 1:
            self._abandon(slots[0], error)
            return
        for slot in reversed(slots):
            attempt = self._active.pop(slot)
            self._waiting.appendleft(_Attempt(attempt.episode, attempt.deaths, alone=True))

    def _abandon(self, slot: int, error: str) -> None:
        self._active[slot].observation = None
        self._pool.send(Abandon(slot, error))

    def _retry(self, event: Lost, attempt: _Attempt) -> None:
        deaths = attempt.deaths + event.at_fault
        if deaths > self._retries:
            error = f"{event.reason} Tried {deaths} times."
            self._finish(event.slot, EpisodeResult("error", error, "worker"))
        else:
            del self._active[event.slot]
            self._waiting.appendleft(_Attempt(attempt.episode, deaths, attempt.alone))

    def _finish(self, slot: int, result: EpisodeResult) -> None:
        attempt = self._active.pop(slot)
        attempts = max(1, attempt.deaths + (result.error_source != "worker"))
        wall_s = time.perf_counter() - attempt.begun
        self._on_finished(FinishedEpisode(attempt.episode, result, wall_s, attempt.policy_s, attempts))

    def _observation(self, slot: int) -> Observation:
        observation = self._active[slot].observation
        assert observation is not None
        return observation
