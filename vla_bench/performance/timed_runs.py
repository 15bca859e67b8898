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
from vla_bench.evaluation.run import RunOptions, run_evaluation
from vla_bench.evaluation.session import RunProgress
from vla_bench.performance.hardware import cpu_time_s, process_memory_mb
from vla_bench.policies import Policy, PolicyRequirements, find_policy
from vla_bench.policies.wrappers import PolicyWrapper

_CAMERAS = ("agentview", "wrist")


class RunFailedError(VlaBenchError):
    """A measured run in which episodes ended in an error."""


class ImageRequestingPolicy(PolicyWrapper):
    """A policy that asks for images, too, and does not look at them: what it costs to send them is what is measured."""

    def __init__(self, policy: Policy, image_size: int) -> None:
        super().__init__(policy)
        self._image_size = image_size

    @property
    def requirements(self) -> PolicyRequirements:
        """What the policy needs, and two cameras."""
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
        """Return what the wrapped one says, and what it is shown."""
        return {**find_policy(self.name).describe(), "cameras": list(_CAMERAS), "image_size": self.image_size}

    def code_hash(self) -> str:
        """Return what the wrapped one says."""
        return find_policy(self.name).code_hash()

    def load(self) -> Policy:
        """Load and wrap the policy."""
        return ImageRequestingPolicy(find_policy(self.name).load(), self.image_size)


@dataclass(frozen=True)
class RunSnapshot:
    """Where a run stood when an episode ended."""

    seconds: float  # since the session began: workers had started
    episodes: int
    steps: int
    processor_s: float  # that this process and all workers have used
    memory_mb: tuple[float, ...] = ()  # proportional share of each worker, where it was asked for
    resident_mb: tuple[float, ...] = ()  # of each worker
    main_mb: float = 0.0  # proportional share of this process


@dataclass
class TimedRun:
    """The moments of one run."""

    moments: list[RunSnapshot] = field(default_factory=list)
    whole_s: float = 0.0  # with start-up

    def pace(self, first: int) -> float:
        """Return steps/s from the moment when `first` episodes had ended to the end."""
        begin, end = self._between(first)
        return (end.steps - begin.steps) / max(end.seconds - begin.seconds, 1e-9)

    def cpu_time_per_step(self, first: int) -> float:
        """Return the processor time of a step, of all processes, from the moment when `first` episodes had ended."""
        begin, end = self._between(first)
        return (end.processor_s - begin.processor_s) / max(end.steps - begin.steps, 1)

    def episodes_per_minute(self, first: int) -> float:
        """Return episodes a minute from the moment when `first` had ended to the end."""
        begin, end = self._between(first)
        return 60.0 * (end.episodes - begin.episodes) / max(end.seconds - begin.seconds, 1e-9)

    def _between(self, first: int) -> tuple[RunSnapshot, RunSnapshot]:
        return next(moment for moment in self.moments if moment.episodes >= first), self.moments[-1]


def timed_run(
    output: Path,
    suite: str,
    tasks: Sequence[str],
    *,
    episodes: int,
    workers: int,
    rows: int,
    policy: str = "noop",
    image_size: int | None = 224,
    memory_at: Sequence[int] = (),
    seed: int = 0,
    variables: Mapping[str, str] | None = None,
) -> TimedRun:
    """Run `policy`, with images of `image_size` pixels or none; measure the memory when so many episodes have ended.

    `variables` are set in the environment meanwhile: workers keep what the user has set.
    """
    watched, at = TimedRun(), set(memory_at)

    def note(progress: RunProgress) -> None:
        asked = progress.done in at
        watched.moments.append(
            RunSnapshot(
                progress.elapsed_s,
                progress.done,
                progress.steps,
                time.process_time() + sum(cpu_time_s(pid) for pid in _worker_pids()),
                worker_memories_mb("Pss") if asked else (),
                worker_memories_mb("Rss") if asked else (),
                process_memory_mb() if asked else 0.0,
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
        rows_per_worker=rows,
    )
    began = time.perf_counter()
    source = None if image_size is None else ImageRequestingSource(policy, image_size)
    with _environment_variables(variables or {}):
        report = run_evaluation(options, note, source=source)
    watched.whole_s = time.perf_counter() - began
    if report.progress.errors:
        raise RunFailedError(f"{report.progress.errors} episodes of {suite} ended in an error; they were being timed.")
    return watched


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
    """Return the memory of every worker process [MB], as `process_memory_mb`."""
    return tuple(process_memory_mb(pid, kind) for pid in _worker_pids())


def _worker_pids() -> list[int]:
    return [child.pid for child in multiprocessing.active_children() if child.pid]
