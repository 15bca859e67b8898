"""Throughput of an evaluation by batch size and workers, with a randomly initialized network."""

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vla_bench.core.types import FloatArray, Observation
from vla_bench.evaluation.run import RunOptions, run_evaluation
from vla_bench.models.normalization import STATISTICS_FILE, read_statistics
from vla_bench.models.openvla.checkpoint import Checkpoint, find_base, load_checkpoint
from vla_bench.models.openvla.config import ARCHITECTURES
from vla_bench.models.openvla.initialization import random_network
from vla_bench.models.openvla.processor import Processor
from vla_bench.performance.registry import DeviceSetup
from vla_bench.policies import Policy, find_policy
from vla_bench.policies.loading import CardSource
from vla_bench.policies.openvla import OpenVLACard, OpenVLAPolicy
from vla_bench.policies.wrappers import PolicyWrapper

# ~ The real evaluation at one operating point: its pace, and whether the policy or the simulation bounds it.
# ~
# ~ A network with random weights acts until its time is over: what the run gives up is never judged.

_NANO = "openvla-nano"  # whose tokenizer and statistics all sizes borrow: they come with the package
_EPISODES_PER_SLOT = 50  # episodes a row: more than are begun
_WARM_UP_ROUNDS = 3  # in which every row was asked, before the time begins
_POLICY_BOUND_FRACTION = 0.9  # share of the time from which on the policy is what all wait for


@dataclass(frozen=True)
class OperatingPoint:
    """How a run is laid out. Rows: two batches, so that one moves while the other thinks."""

    workers: int
    rows: int  # a worker
    batch: int

    @classmethod
    def of(cls, batch: int, workers: int) -> "OperatingPoint":
        """Return the point of a batch on so many workers, or fewer where they would find nothing to do."""
        workers = min(workers, 2 * batch)
        return cls(workers, -(-2 * batch // workers), batch)

    def __str__(self) -> str:
        return f"batch of {self.batch}, {self.workers} workers x {self.rows} rows"


@dataclass(frozen=True)
class Throughput:
    """What a run did after its start."""

    actions: int  # control steps that were asked for
    seconds: float
    policy_s: float  # of `seconds`, in which the policy computed

    @property
    def actions_per_s(self) -> float:
        """Control steps a second of all rows together."""
        return self.actions / max(self.seconds, 1e-9)

    @property
    def policy_share(self) -> float:
        """Share of the time in which the policy computed."""
        return self.policy_s / max(self.seconds, 1e-9)

    @property
    def bound(self) -> str:
        """What all wait for."""
        return "the policy" if self.policy_share >= _POLICY_BOUND_FRACTION else "the simulation"

    def episodes_per_hour(self, steps: int) -> float:
        """Episodes of so many control steps an hour."""
        return 3600.0 * self.actions_per_s / steps


def measure_operating_point(
    policy: Policy, point: OperatingPoint, task_id: str, seconds: float, output: Path
) -> Throughput:
    """Evaluate at one point for `seconds` after every row has acted some times; the run folder is `output`."""
    suite, task = task_id.split(".")
    clocked = _TimedPolicy(policy, seconds, rows=point.workers * point.rows)
    options = RunOptions(
        policy=_NANO,
        suite=suite,
        tasks=(task,),
        output=output,
        episodes=_EPISODES_PER_SLOT * point.workers * point.rows,
        workers=point.workers,
        rows_per_worker=point.rows,
        batch_shape=point.batch,
    )
    with suppress(_TimeLimitReached):
        run_evaluation(options, source=_LoadedPolicySource(clocked))
    return clocked.pace()


def random_weights_policy(on: DeviceSetup) -> Policy:
    """Return the network with random weights behind its own card, executed as the card says."""
    source, config, small = find_policy(on.network), ARCHITECTURES[on.network](), find_base(_NANO)
    assert isinstance(source, CardSource)
    assert isinstance(source.card, OpenVLACard)
    config = replace(config, proprioception_dim=0)  # which the published size has none of either
    card = source.card.model_copy(update={"unnorm_key": None, "proprioception": ()})
    network = random_network(config, on.device, getattr(torch, on.dtype))
    processor = Processor(config, load_checkpoint(small).processor.tokenizer)
    policy = OpenVLAPolicy(card, Checkpoint(network, processor, read_statistics(small / STATISTICS_FILE)))
    return policy if card.chunk is None else card.chunk.wrapped(policy)


def release_gpu_memory() -> None:
    """Give back the memory of networks that nobody holds any more: later measures load theirs in other processes."""
    gc.collect()
    torch.cuda.empty_cache()


class _TimeLimitReached(BaseException):
    """Ends a run from within: no `except Exception` of it may take this for a failure of the policy."""


class _TimedPolicy(PolicyWrapper):
    """Count actions and time from when every row has acted some times; end the run when the time is over."""

    def __init__(self, policy: Policy, seconds: float, *, rows: int, clock: Callable[[], float] = time.perf_counter):
        super().__init__(policy)
        self._seconds, self._rows, self._clock = seconds, rows, clock
        self._asked = 0  # rows, before the time begins
        self._began: float | None = None
        self._ended = 0.0
        self._actions, self._policy_s = 0, 0.0

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the policy's actions; raise `_TimeLimitReached` when the time is over."""
        began = self._clock()
        if self._began is not None and began - self._began >= self._seconds:
            self._ended = began
            raise _TimeLimitReached
        actions = self._policy.act(observations, rows=rows)
        real = sum(row < self._rows for row in rows)  # the others fill up a batch
        if self._began is None:
            self._asked += real
            self._began = self._clock() if self._asked >= _WARM_UP_ROUNDS * self._rows else None
        else:
            self._ended = self._clock()
            self._policy_s += self._ended - began
            self._actions += real * actions.shape[1]
        return actions

    def pace(self) -> Throughput:
        """Return what was counted."""
        return Throughput(self._actions, self._ended - (self._began or 0.0), self._policy_s)


@dataclass(frozen=True)
class _LoadedPolicySource:
    """A source of a policy that is loaded."""

    policy: Policy
    name: str = "random-weights"

    def describe(self) -> dict[str, Any]:
        """Return what it is: nothing is compared with it."""
        return {"kind": self.name}

    def code_hash(self) -> str:
        """Return nothing: the code is ours."""
        return ""

    def load(self) -> Policy:
        """Return the policy."""
        return self.policy
