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
from vla_bench.evaluation.options import RunOptions
from vla_bench.evaluation.run import run_evaluation
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

_NANO = "openvla-nano"  # provides tokenizer and statistics for all sizes, because it is part of the package
_EPISODES_PER_SLOT = 50  # more than the time limit allows
_WARM_UP_ROUNDS = 3  # calls of every environment before the timing starts
_POLICY_BOUND_FRACTION = 0.9  # fraction of the time from which the policy is the bottleneck


@dataclass(frozen=True)
class OperatingPoint:
    """Workers, environments and batch size of a run.

    The environments are two batches, so that one batch is simulated while the policy computes the other.
    """

    workers: int
    rows: int  # environments per worker
    batch: int

    @classmethod
    def of(cls, batch: int, workers: int) -> "OperatingPoint":
        """Return the point of a batch size with `workers` workers, or with fewer where some would have no
        environment.
        """
        workers = min(workers, 2 * batch)
        return cls(workers, -(-2 * batch // workers), batch)

    def __str__(self) -> str:
        return f"batch of {self.batch}, {self.workers} workers x {self.rows} environments"


@dataclass(frozen=True)
class Throughput:
    """Actions and times of a run after its warm-up."""

    actions: int  # control steps
    seconds: float
    policy_s: float  # part of `seconds` in which the policy computed

    @property
    def actions_per_s(self) -> float:
        """Control steps per second of all environments together."""
        return self.actions / max(self.seconds, 1e-9)

    @property
    def policy_share(self) -> float:
        """Fraction of the time in which the policy computed."""
        return self.policy_s / max(self.seconds, 1e-9)

    @property
    def bound(self) -> str:
        """The bottleneck: the policy or the simulation."""
        return "the policy" if self.policy_share >= _POLICY_BOUND_FRACTION else "the simulation"

    def episodes_per_hour(self, steps: int) -> float:
        """Return episodes per hour for episodes of `steps` control steps."""
        return 3600.0 * self.actions_per_s / steps


def measure_operating_point(
    policy: Policy, point: OperatingPoint, task_id: str, seconds: float, output: Path
) -> Throughput:
    """Evaluate at one point for `seconds` after the warm-up and return the throughput; the run folder is `output`.

    The policy acts until the time limit ends the run; the outcomes of its episodes are not used.
    """
    suite, task = task_id.split(".")
    timed = _TimedPolicy(policy, seconds, rows=point.workers * point.rows)
    options = RunOptions(
        policy=_NANO,
        suite=suite,
        tasks=(task,),
        output=output,
        episodes=_EPISODES_PER_SLOT * point.workers * point.rows,
        workers=point.workers,
        slots_per_worker=point.rows,
        batch_shape=point.batch,
    )
    with suppress(_TimeLimitReached):
        run_evaluation(options, source=_LoadedPolicySource(timed))
    return timed.throughput()


def random_weights_policy(on: DeviceSetup) -> Policy:
    """Return a policy with a randomly initialized network and the chunk execution of its card."""
    source, config, nano = find_policy(on.network), ARCHITECTURES[on.network](), find_base(_NANO)
    assert isinstance(source, CardSource)
    assert isinstance(source.card, OpenVLACard)
    config = replace(config, proprioception_dim=0)  # the published size has no proprioception input
    card = source.card.model_copy(update={"unnorm_key": None, "proprioception": ()})
    network = random_network(config, on.device, getattr(torch, on.dtype))
    processor = Processor(config, load_checkpoint(nano).processor.tokenizer)
    policy = OpenVLAPolicy(card, Checkpoint(network, processor, read_statistics(nano / STATISTICS_FILE)))
    return policy if card.chunk is None else card.chunk.wrapped(policy)


def release_gpu_memory() -> None:
    """Release the GPU memory of unreferenced networks, because later measures load theirs in other processes."""
    gc.collect()
    torch.cuda.empty_cache()


class _TimeLimitReached(BaseException):
    """Ends a run; a BaseException, so that the run does not record a failure of the policy."""


class _TimedPolicy(PolicyWrapper):
    """Count actions and time after a warm-up, and end the run when the time limit is reached."""

    def __init__(self, policy: Policy, seconds: float, *, rows: int, clock: Callable[[], float] = time.perf_counter):
        super().__init__(policy)
        self._seconds, self._rows, self._clock = seconds, rows, clock
        self._warm_up_actions = 0
        self._began: float | None = None
        self._ended = 0.0
        self._actions, self._policy_s = 0, 0.0

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the policy's actions; raise `_TimeLimitReached` after the time limit."""
        began = self._clock()
        if self._began is not None and began - self._began >= self._seconds:
            self._ended = began
            raise _TimeLimitReached
        actions = self._policy.act(observations, rows=rows)
        real = sum(row < self._rows for row in rows)  # the others are padding of the batch
        if self._began is None:
            self._warm_up_actions += real
            self._began = self._clock() if self._warm_up_actions >= _WARM_UP_ROUNDS * self._rows else None
        else:
            self._ended = self._clock()
            self._policy_s += self._ended - began
            self._actions += real * actions.shape[1]
        return actions

    def throughput(self) -> Throughput:
        """Return the throughput after the warm-up."""
        return Throughput(self._actions, self._ended - (self._began or 0.0), self._policy_s)


@dataclass(frozen=True)
class _LoadedPolicySource:
    """A source that returns an already loaded policy."""

    policy: Policy
    name: str = "random-weights"

    def describe(self) -> dict[str, Any]:
        """Return a minimal description: such runs are not compared."""
        return {"kind": self.name}

    def code_hash(self) -> str:
        """Return an empty string, because the code belongs to this package."""
        return ""

    def load(self) -> Policy:
        """Return the policy."""
        return self.policy
