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
    """Rows that carry out commands."""

    @property
    def rows(self) -> int:
        """How many there are."""

    def send(self, command: Command) -> None:
        """Give a command to a row; it answers with one event."""

    def events(self) -> list[Event]:
        """Wait for events and return all that are there."""


@dataclass(frozen=True)
class FinishedEpisode:
    """An episode's result and the time it took."""

    episode: EpisodeIdentity
    result: EpisodeResult
    wall_s: float
    policy_s: float  # of `wall_s`, spent waiting for the policy
    attempts: int = 1  # with those that ended with their worker


@dataclass
class _Attempt:
    """One attempt at an episode."""

    episode: EpisodeIdentity
    deaths: int = 0  # workers that died over it
    alone: bool = False  # acts in a batch of its own: a batch that it was in failed
    begun: float = 0.0
    policy_s: float = 0.0
    told: bool = False  # the policy knows that the episode began
    observation: Observation | None = None  # where it waits for actions


class Rollout:
    """Runs episodes to their ends. Every episode ends in exactly one call of `on_finished`.

    Where the policy raises for a batch, its episodes begin again, each in a batch of its own, so that only an episode
    for which the policy fails by itself becomes an error. `video_of` names the mp4 for episodes to be recorded,
    `blocks` splits the rows that are ready into those that the policy is asked about together.
    """

    def __init__(
        self,
        policy: Policy,
        pool: Pool,
        on_finished: Callable[[FinishedEpisode], None],
        *,
        retries: int = _MAX_RETRIES,
        video_of: Callable[[EpisodeIdentity], Path | None] = lambda episode: None,
        blocks: Callable[[Sequence[int]], Sequence[list[int]]] = lambda rows: [list(rows)],
        action_dim: int = ACTION_DIM,
    ) -> None:
        self._policy, self._pool, self._on_finished = policy, pool, on_finished
        self._retries, self._video_of, self._blocks = retries, video_of, blocks
        self._action_dim = action_dim
        self._waiting: deque[_Attempt] = deque()
        self._active: dict[int, _Attempt] = {}  # by row

    def run(self, episodes: Iterable[EpisodeIdentity]) -> None:
        """Run all `episodes`, as many at a time as there are rows."""
        self._waiting.extend(_Attempt(episode) for episode in episodes)
        self._refill()
        while self._active:
            for event in self._pool.events():
                self._handle(event)
            self._refill()  # before the policy thinks, so that the new episodes are set up meanwhile
            ready = [row for row, trial in self._active.items() if trial.observation is not None]
            # Half of the rows think while the other half move: both processes keep busy.
            if ready and 2 * len(ready) >= len(self._active):
                self._act(ready)
                self._refill()

    def _refill(self) -> None:
        for row in range(self._pool.rows):
            if not self._waiting:
                return
            if row not in self._active:
                trial = self._waiting.popleft()
                trial.begun = time.perf_counter()
                self._active[row] = trial
                self._pool.send(Begin(row, trial.episode, self._video_of(trial.episode)))

    def _handle(self, event: Event) -> None:
        trial = self._active.get(event.row)
        if trial is None:
            return  # a lost row in which nothing ran
        if isinstance(event, Ready):
            trial.observation = event.observation
            if not trial.told:
                self._reset_policy(event.row, trial, event.observation)
        elif isinstance(event, Finished):
            self._finish(event.row, event.result)
        else:
            self._retry(event, trial)

    def _reset_policy(self, row: int, trial: _Attempt, observation: Observation) -> None:
        seed = int(trial.episode.generator("policy").integers(2**31))
        try:
            self._policy.reset([observation["instruction"]], rows=[row], seeds=[seed])
        except Exception:
            self._abandon(row, traceback.format_exc())
        trial.told = True

    def _act(self, ready: Sequence[int]) -> None:
        alone = [row for row in ready if self._active[row].alone]
        together = [row for row in ready if not self._active[row].alone]
        for batch in [*([row] for row in alone), *(self._blocks(together) if together else [])]:
            self._act_together(batch)

    def _act_together(self, rows: list[int]) -> None:
        begun = time.perf_counter()
        try:
            actions = self._policy.act([self._observation(row) for row in rows], rows=rows)
            chunks = as_chunks(actions, len(rows), self._action_dim)
        except Exception:
            self._retry_separately(rows, traceback.format_exc())
            return
        for row, chunk in zip(rows, chunks, strict=True):
            self._active[row].policy_s += time.perf_counter() - begun
            self._send(row, chunk)

    def _send(self, row: int, chunk: FloatArray) -> None:
        if not np.isfinite(chunk).all():
            self._abandon(row, f"PolicyOutputError: the policy returned actions that are not finite: {chunk.tolist()}")
            return
        self._active[row].observation = None
        self._pool.send(Execute(row, chunk))

    def _retry_separately(self, rows: list[int], error: str) -> None:
        """After the policy failed for these rows: one row alone is an error, several begin again one by one."""
        if len(rows) == 1:
            self._abandon(rows[0], error)
            return
        for row in reversed(rows):
            trial = self._active.pop(row)
            self._waiting.appendleft(_Attempt(trial.episode, trial.deaths, alone=True))

    def _abandon(self, row: int, error: str) -> None:
        self._active[row].observation = None
        self._pool.send(Abandon(row, error))

    def _retry(self, event: Lost, trial: _Attempt) -> None:
        deaths = trial.deaths + event.at_fault
        if deaths > self._retries:
            error = f"{event.reason} Tried {deaths} times."
            self._finish(event.row, EpisodeResult("error", error, "worker"))
        else:
            del self._active[event.row]
            self._waiting.appendleft(_Attempt(trial.episode, deaths, trial.alone))

    def _finish(self, row: int, result: EpisodeResult) -> None:
        trial = self._active.pop(row)
        attempts = max(1, trial.deaths + (result.error_source != "worker"))
        wall_s = time.perf_counter() - trial.begun
        self._on_finished(FinishedEpisode(trial.episode, result, wall_s, trial.policy_s, attempts))

    def _observation(self, row: int) -> Observation:
        observation = self._active[row].observation
        assert observation is not None
        return observation
