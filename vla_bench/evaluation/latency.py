"""Policy latency on a virtual clock: actions take effect a number of control steps after their observation.

Until then the robot holds still, and the gripper keeps its last command, as on a real robot that waits for its policy.
"""

import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import VlaBenchError
from vla_bench.core.types import ACTION_DIM, CONTROL_HZ, FloatArray, Observation
from vla_bench.evaluation.messages import Begin, Command, Event, Execute, Lost, Ready
from vla_bench.evaluation.rollout import Pool
from vla_bench.policies.policy import Policy

MEASURED = "measured"
_PATTERN = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(?:ms)?\s*(?:(?:±|\+-|\+/-)\s*(\d+(?:\.\d+)?)\s*(?:ms)?)?\s*$")
_STEP_MS = 1000.0 / CONTROL_HZ
_GRIPPER = ACTION_DIM - 1
_OPEN = -1.0
_WARM_UP, _MEASUREMENTS = 3, 15


@dataclass(frozen=True)
class Latency:
    """Response time of a policy, uniform between `mean_ms - jitter_ms` and `mean_ms + jitter_ms`."""

    mean_ms: float
    jitter_ms: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.jitter_ms <= self.mean_ms:
            raise VlaBenchError(f"The latency {self} can be negative. Expected a spread of at most the mean.")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `120ms±20`, `120+-20` or `120`; raise `VlaBenchError` otherwise."""
        match = _PATTERN.match(text)
        if match is None:
            raise VlaBenchError(f"{text!r} is not a latency. Expected milliseconds such as 120ms±20, or {MEASURED!r}.")
        return cls(float(match[1]), float(match[2] or 0.0))

    def __str__(self) -> str:
        spread = f"±{self.jitter_ms:g}" if self.jitter_ms else ""
        return f"{self.mean_ms:g}ms{spread}"

    def steps(self, generator: np.random.Generator) -> int:
        """Sample the delay of one response [control steps]; it takes effect at the first step after its arrival."""
        sampled_ms = self.mean_ms + self.jitter_ms * generator.uniform(-1.0, 1.0)
        return int(np.ceil(round(sampled_ms / _STEP_MS, 9)))


class DelayedPool:
    """A pool that delays every chunk of actions; the delays depend on the episode identity only."""

    def __init__(self, pool: Pool, latency: Latency) -> None:
        self._pool, self._latency = pool, latency
        self._generators: dict[int, np.random.Generator] = {}  # by slot
        self._commanded: dict[int, FloatArray | None] = {}  # last action by slot

    @property
    def slots(self) -> int:
        """The number of slots of the pool."""
        return self._pool.slots

    def send(self, command: Command) -> None:
        """Forward a command; put the actions of the waiting robot before those of a chunk."""
        if isinstance(command, Begin):
            self._generators[command.slot] = command.episode.generator("latency")
            self._commanded[command.slot] = None
        if isinstance(command, Execute):
            command = self._delayed(command)
        self._pool.send(command)

    def events(self) -> list[Event]:
        """Return the pool's events."""
        return self._pool.events()

    def _delayed(self, command: Execute) -> Execute:
        steps = self._latency.steps(self._generators[command.slot])
        waiting = _hold_still_action(self._commanded[command.slot], command.actions.shape[1])
        self._commanded[command.slot] = command.actions[-1]
        return Execute(command.slot, np.concatenate([np.tile(waiting, (steps, 1)), command.actions]))


def measure_latency(policy: Policy, observation: Observation) -> Latency:
    """Return the median response time of the connected `policy` for one observation, rounded to a millisecond.

    The policy begins an episode in slot 0.
    """
    policy.reset([observation["instruction"]], rows=[0], seeds=[0])
    taken_s: list[float] = []
    for _ in range(_WARM_UP + _MEASUREMENTS):
        begun = time.perf_counter()
        policy.act([observation], rows=[0])
        taken_s.append(time.perf_counter() - begun)
    return Latency(float(round(1000.0 * statistics.median(taken_s[_WARM_UP:]))))


def pool_with_latency(pool: Pool, policy: Policy, latency: str, episode: EpisodeIdentity) -> tuple[Pool, str]:
    """Return `pool` with the latency of a protocol applied, and the latency in milliseconds as text.

    For `measured`, the response time of the connected `policy` to the first observation of `episode` is measured.
    """
    if not latency:
        return pool, ""
    if latency == MEASURED:
        latency = str(measure_latency(policy, _first_observation(pool, episode)))
    return DelayedPool(pool, Latency.parse(latency)), latency


def _first_observation(pool: Pool, episode: EpisodeIdentity) -> Observation:
    pool.send(Begin(0, episode))
    (event,) = pool.events()
    if not isinstance(event, Ready):
        reason = event.reason if isinstance(event, Lost) else event.result.error
        raise VlaBenchError(f"Cannot measure the latency of the policy: episode {episode.name} did not start. {reason}")
    return event.observation  # the next episode of the slot drops this one


def _hold_still_action(commanded: FloatArray | None, size: int) -> FloatArray:
    """Return an action (size,) without motion; each gripper keeps its last command, initially open."""
    action = np.zeros(size, dtype=np.float32)
    grippers: Sequence[int] = range(_GRIPPER, size, ACTION_DIM)
    action[grippers] = _OPEN if commanded is None else commanded[grippers]
    return action
