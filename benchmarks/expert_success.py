"""Measure how often the scripted experts solve their tasks on fresh scenes, in how many steps and how fast.

Nothing is rendered. The scenes are those of episodes that neither demonstrations nor evaluations of any seed meet.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.paths import written_whole
from vla_bench.envs.environment import VlaBenchEnv, make
from vla_bench.experts import make_expert
from vla_bench.results.statistics import wilson
from vla_bench.tasks import get_task, suites, task_ids

_VARIANT = "expert_success"  # of the episodes' identities
_EPISODES_A_JOB = 5


@dataclass(frozen=True)
class Outcome:
    """How one episode went."""

    task_id: str
    index: int
    success: bool
    steps: int
    seconds: float


def main() -> None:
    """Run all episodes and write the page."""
    options = _parse(sys.argv[1:])
    outcomes = measure(_chosen_tasks(options.suite), seeds=options.seeds, workers=options.workers)
    page = report(
        outcomes, workers=options.workers, command=" ".join(["python benchmarks/expert_success.py", *sys.argv[1:]])
    )
    with written_whole(options.output) as path:
        path.write_text(page, encoding="utf-8")
    print(page)


def measure(tasks: Sequence[str], *, seeds: int, workers: int) -> dict[str, list[Outcome]]:
    """Return the outcomes of `seeds` episodes of each task, by task."""
    indices = range(seeds)
    jobs = [(task, indices[first : first + _EPISODES_A_JOB]) for task in tasks for first in indices[::_EPISODES_A_JOB]]
    outcomes: dict[str, list[Outcome]] = {task: [] for task in tasks}
    with get_context("spawn").Pool(workers) as pool:
        for number, done in enumerate(pool.imap_unordered(_run_job, jobs), start=1):
            outcomes[done[0].task_id].extend(done)
            print(f"\r{number} of {len(jobs)} jobs, {done[0].task_id}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {task: sorted(found, key=lambda outcome: outcome.index) for task, found in outcomes.items()}


def _run_job(job: tuple[str, Sequence[int]]) -> list[Outcome]:
    task_id, indices = job
    return [_episode(task_id, index) for index in indices]


def _episode(task_id: str, index: int) -> Outcome:
    environment = _environment(task_id)
    identity = EpisodeIdentity(environment.task.suite, environment.task.name, index, variant=_VARIANT)
    began = time.perf_counter()
    environment.reset(seed=identity.scene_seed())
    expert, world = make_expert(environment.task), environment.simulation.world
    expert.reset(world, identity.generator("expert"))
    steps, ended = 0, False
    while not ended:
        _, terminated, truncated, info = environment.advance(expert.act(world))
        steps, ended = steps + 1, terminated or truncated
    return Outcome(task_id, index, bool(info["success"]), steps, time.perf_counter() - began)


@lru_cache(maxsize=1)
def _environment(task_id: str) -> VlaBenchEnv:
    return make(task_id, image_size=16, cameras=())


def report(outcomes: Mapping[str, Sequence[Outcome]], *, workers: int, command: str) -> str:
    """Return the Markdown page."""
    whole = [outcome for found in outcomes.values() for outcome in found]
    failures = [f"`{outcome.task_id}` {outcome.index}" for outcome in whole if not outcome.success]
    return "\n".join(
        [
            "# Success of the scripted experts",
            "",
            "| task | episodes | success | 95 % interval | mean steps | longest | ms an episode |",
            "|---|---|---|---|---|---|---|",
            *(_row(f"`{task_id}`", found) for task_id, found in outcomes.items()),
            _row("all", whole),
            "",
            "Steps are control steps of 50 ms, of successful episodes alone. The interval is Wilson's. The time is the",
            f"median of a task's episodes, with reset, without rendering, with {workers} processes at once.",
            "",
            f"- Failures, by index: {', '.join(failures) or 'none'}",
            f"- Scenes: `EpisodeIdentity(suite, task, index, variant={_VARIANT!r}).scene_seed()`",
            f"- Hardware: {_hardware()}",
            f"- Software: {_software()}",
            f"- Date: {datetime.now(UTC):%Y-%m-%d}",
            f"- Command: `{command}`",
            "",
        ]
    )


def _row(title: str, outcomes: Sequence[Outcome]) -> str:
    share = wilson(sum(outcome.success for outcome in outcomes), len(outcomes))
    steps = [outcome.steps for outcome in outcomes if outcome.success]
    length = f"{statistics.mean(steps):.0f} | {max(steps)}" if steps else "- | -"
    ms = 1000 * statistics.median(outcome.seconds for outcome in outcomes)
    success = f"{100 * share.rate:.1f} % | {100 * share.low:.1f} to {100 * share.high:.1f}"
    return f"| {title} | {len(outcomes)} | {success} | {length} | {ms:.0f} |"


def _chosen_tasks(chosen: Sequence[str] | None) -> list[str]:
    tasks = [task_id for suite in chosen or suites() for task_id in task_ids(suite)]
    return sorted(tasks, key=lambda task_id: get_task(task_id).engine, reverse=True)  # tabletop before robosuite


def _hardware() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, {platform.machine()}"


def _software() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("mujoco", "robosuite", "numpy"))
    return f"Python {platform.python_version()}, {packages}"


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/expert_success.md"))
    parser.add_argument("--seeds", type=int, default=100, help="episodes of each task")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--suite", action="append", choices=suites(), help="may be given several times [default: all]")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
