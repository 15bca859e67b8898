"""Timed evaluation runs: throughput and memory between finished rounds, without start-up."""

import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.types import FloatArray, Observation
from vla_bench.evaluation.options import RunOptions
from vla_bench.evaluation.run import run_evaluation
from vla_bench.evaluation.session import RunProgress
from vla_bench.performance.hardware import cpu_time_s, process_memory_mb
from vla_bench.performance.workloads import IMAGE_SIZE
from vla_bench.policies import Policy, PolicyRequirements, find_policy
from vla_bench.policies.wrappers import PolicyWrapper

_CAMERAS = ("agentview", "wrist")


class RunFailedError(VlaBenchError):
    """A timed run in which episodes ended in an error."""


class ImageRequestingPolicy(PolicyWrapper):
    """A policy that requests images without using them, so that a run includes the cost of sending them."""

    def __init__(self, policy: Policy, image_size: int) -> None:
        super().__init__(policy)
        self._image_size = image_size

    @property
    def requirements(self) -> PolicyRequirements:
        """The requirements of the policy, with two cameras."""
        return replace(self._policy.requirements, cameras=_CAMERAS, image_size=self._image_size)

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the policy's actions."""
        return self._policy.act(observations, rows=rows)


@dataclass(frozen=True)
class ImageRequestingSource:
    """A source of `ImageRequestingPolicy` policies."""

    name: str
    image_size: int

    def describe(self) -> dict[str, Any]:
        """Return the description of the wrapped source, with the requested images."""
        return {**find_policy(self.name).describe(), "cameras": list(_CAMERAS), "image_size": self.image_size}

    def code_hash(self) -> str:
        """Return the code hash of the wrapped source."""
        return find_policy(self.name).code_hash()

    def load(self) -> Policy:
        """Load and wrap the policy."""
        return ImageRequestingPolicy(find_policy(self.name).load(), self.image_size)


@dataclass(frozen=True)
class RunSnapshot:
    """Progress and resources of a run at the end of an episode."""

    seconds: float  # since the session began, after the start of the workers
    episodes: int
    steps: int
    cpu_s: float  # CPU time of this process and all workers
    memory_mb: tuple[float, ...] = ()  # proportional set size of each worker, where requested
    resident_mb: tuple[float, ...] = ()  # resident set size of each worker
    main_mb: float = 0.0  # proportional set size of this process


@dataclass
class TimedRun:
    """The snapshots of one run."""

    snapshots: list[RunSnapshot] = field(default_factory=list)
    total_s: float = 0.0  # with start-up

    def steps_per_s(self, first: int) -> float:
        """Return steps/s between the end of the first `first` episodes and the end of the run."""
        begin, end = self._between(first)
        return (end.steps - begin.steps) / max(end.seconds - begin.seconds, 1e-9)

    def cpu_time_per_step(self, first: int) -> float:
        """Return the CPU time per step of all processes after the end of the first `first` episodes [s]."""
        begin, end = self._between(first)
        return (end.cpu_s - begin.cpu_s) / max(end.steps - begin.steps, 1)

    def episodes_per_minute(self, first: int) -> float:
        """Return episodes per minute after the end of the first `first` episodes."""
        begin, end = self._between(first)
        return 60.0 * (end.episodes - begin.episodes) / max(end.seconds - begin.seconds, 1e-9)

    def _between(self, first: int) -> tuple[RunSnapshot, RunSnapshot]:
        return next(one for one in self.snapshots if one.episodes >= first), self.snapshots[-1]


def timed_run(
    output: Path,
    suite: str,
    tasks: Sequence[str],
    *,
    episodes: int,
    workers: int,
    rows: int,
    policy: str = "noop",
    image_size: int | None = IMAGE_SIZE,
    memory_at: Sequence[int] = (),
    seed: int = 0,
    variables: Mapping[str, str] | None = None,
) -> TimedRun:
    """Run `policy` with images of `image_size` pixels or none, and record a snapshot at the end of each episode.

    Memory is measured when the number of finished episodes is in `memory_at`. `variables` are environment variables
    during the run; workers inherit them. Raise `RunFailedError` where an episode ends in an error.
    """
    timed, at = TimedRun(), set(memory_at)

    def note(progress: RunProgress) -> None:
        with_memory = progress.done in at
        timed.snapshots.append(
            RunSnapshot(
                progress.elapsed_s,
                progress.done,
                progress.steps,
                time.process_time() + sum(cpu_time_s(pid) for pid in _worker_pids()),
                worker_memories_mb("Pss") if with_memory else (),
                worker_memories_mb("Rss") if with_memory else (),
                process_memory_mb() if with_memory else 0.0,
            )
        )

    options = RunOptions(
        policy=policy,
        suite=suite,
        output=output,
        tasks=tuple(tasks),
        episodes=episodes,
        seed=seed,
        workers=workers,
        slots_per_worker=rows,
    )
    began = time.perf_counter()
    source = None if image_size is None else ImageRequestingSource(policy, image_size)
    with _environment_variables(variables or {}):
        report = run_evaluation(options, note, source=source)
    timed.total_s = time.perf_counter() - began
    if report.progress.errors:
        raise RunFailedError(
            f"{report.progress.errors} episodes of {suite} ended in an error during a timed run. The run cannot be "
            "measured."
        )
    return timed


@contextmanager
def _environment_variables(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def worker_memories_mb(kind: str) -> tuple[float, ...]:
    """Return the memory of every worker process [MB]; `kind` as in `process_memory_mb`."""
    return tuple(process_memory_mb(pid, kind) for pid in _worker_pids())


def _worker_pids() -> list[int]:
    return [child.pid for child in multiprocessing.active_children() if child.pid]
