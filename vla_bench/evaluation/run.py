"""One evaluation run: a policy, the episodes of a suite, and the folder that receives the results."""

import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import OutputMismatchError, VlaBenchError
from vla_bench.core.locks import claimed
from vla_bench.envs.descriptions import describe_robot
from vla_bench.evaluation.plan import plan_episodes
from vla_bench.evaluation.pool import NoWorkers, WorkerPool
from vla_bench.evaluation.protocol import EvaluationProtocol
from vla_bench.evaluation.rollout import FinishedEpisode, Rollout
from vla_bench.evaluation.rows import EnvironmentSpec
from vla_bench.policies import EnvironmentConventions, Policy, PolicySource, find_policy
from vla_bench.results.ledger import LEDGER_NAME, EpisodeRecord, Ledger
from vla_bench.results.run_info import RUN_INFO_NAME, PlannedTask, RunInfo, describe_run, open_run

_DEFAULT_IMAGE_SIZE = 224  # pixels, for a policy that takes any


@dataclass(frozen=True)
class RunOptions:
    """What a run is asked to do."""

    policy: str  # card name, path to a card, or package.module:factory
    suite: str
    output: Path  # run folder; one that is there is continued
    checkpoint: Path | None = None  # in place of the card's
    tasks: tuple[str, ...] = ()  # none: all of the suite
    episodes: int = 20  # of each task
    seed: int = 0
    workers: int = 2  # processes
    rows_per_worker: int = 8  # environments a process; workers x rows is the largest batch
    videos: int = 0  # of each task, of its first episodes
    image_size: int | None = None  # pixels; None: what the policy asks for
    protocol: EvaluationProtocol = field(default_factory=EvaluationProtocol)

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("rows_per_worker", 1), ("videos", 0)):
            if getattr(self, name) < least:
                raise VlaBenchError(f"{name} is {getattr(self, name)}. Expected {least} or more.")


@dataclass(frozen=True)
class RunProgress:
    """Where a run stands."""

    done: int  # episodes, with those of earlier sessions
    total: int
    successes: int
    failures: int
    errors: int
    steps: int  # control steps of this session
    elapsed_s: float
    eta_s: float | None  # None before the first episode of the session ends
    latest: EpisodeRecord | None = None

    @property
    def success_rate(self) -> float:
        """Successes among the episodes of this session that were no errors, nan before the first."""
        judged = self.successes + self.failures
        return self.successes / judged if judged else math.nan

    @property
    def steps_per_s(self) -> float:
        """Control steps a second over all rows."""
        return self.steps / self.elapsed_s if self.elapsed_s else 0.0


@dataclass(frozen=True)
class RunReport:
    """What a run has done."""

    output: Path
    policy: str
    progress: RunProgress  # at the end
    resumed: int  # episodes that were there already
    workers_replaced: int


def run_evaluation(
    options: RunOptions, on_progress: Callable[[RunProgress], None] = lambda progress: None
) -> RunReport:
    """Run the episodes that `options.output` does not hold yet; `on_progress` hears of every one that ends.

    Raise `OutputInUseError` while another process writes there, and `OutputMismatchError` if the folder holds a run
    of another configuration. Episodes that ended in an error are tried again.
    """
    describe_robot(options.protocol.robot)  # an unknown one is told before any worker starts
    plan = plan_episodes(options.suite, options.tasks, episodes=options.episodes, seed=options.seed)
    source = find_policy(options.policy, options.checkpoint)
    with claimed(options.output):
        finished = _finished_before(options)
        missing = [episode for episode in plan if episode not in finished]
        policy = source.load()
        info = _describe(options, source, policy, plan)
        _require_same_configuration(options.output, info)
        with _cores_left_to_workers(options.workers), _connected_pool(options, policy, missing) as pool:
            info = open_run(options.output, info)
            with Ledger(options.output / LEDGER_NAME) as ledger:
                session = _Session(source.name, ledger, len(plan), len(plan) - len(missing), on_progress)
                retries, video_of = options.protocol.retries, _videos(options)
                Rollout(policy, pool, session.finish, retries=retries, video_of=video_of).run(missing)
            info.finished_now().write(options.output)
    return RunReport(options.output, source.name, session.progress(), len(plan) - len(missing), pool.replaced)


def environment_spec(policy: Policy, image_size: int | None, protocol: EvaluationProtocol) -> EnvironmentSpec:
    """Return how to make environments that send what `policy` needs, and no more than that."""
    needs = policy.requirements
    return EnvironmentSpec(
        image_size=image_size or needs.image_size or _DEFAULT_IMAGE_SIZE,
        cameras=needs.cameras,
        rendering=protocol.rendering,
        depth=needs.depth,
        wait_steps=protocol.wait_steps,
        expert=needs.needs_expert,
        robot=protocol.robot,
    )


class _Session:
    """Writes each finished episode to the ledger and tells how far the run is."""

    def __init__(
        self, policy: str, ledger: Ledger, total: int, resumed: int, on_progress: Callable[[RunProgress], None]
    ) -> None:
        self._policy, self._ledger, self._total, self._resumed = policy, ledger, total, resumed
        self._on_progress = on_progress
        self._outcomes: Counter[str] = Counter()
        self._steps = 0
        self._begun = time.perf_counter()
        on_progress(self.progress())

    def finish(self, finished: FinishedEpisode) -> None:
        """Record one episode."""
        record = _record(self._policy, finished)
        self._ledger.append(record)
        self._outcomes[record.outcome] += 1
        self._steps += record.steps
        self._on_progress(self.progress(record))

    def progress(self, latest: EpisodeRecord | None = None) -> RunProgress:
        """Return where the run stands."""
        elapsed_s = time.perf_counter() - self._begun
        here = self._outcomes.total()
        remaining = self._total - self._resumed - here
        return RunProgress(
            done=self._resumed + here,
            total=self._total,
            successes=self._outcomes["success"],
            failures=self._outcomes["failure"],
            errors=self._outcomes["error"],
            steps=self._steps,
            elapsed_s=elapsed_s,
            eta_s=elapsed_s / here * remaining if here else None,
            latest=latest,
        )


@contextmanager
def _connected_pool(
    options: RunOptions, policy: Policy, episodes: Sequence[EpisodeIdentity]
) -> Iterator[WorkerPool | NoWorkers]:
    """Yield workers for `episodes` whose environments fit the policy, and end them afterwards."""
    if not episodes:
        yield NoWorkers()
        return
    workers = min(options.workers, len(episodes))
    rows = min(options.rows_per_worker, math.ceil(len(episodes) / workers))
    spec = environment_spec(policy, options.image_size, options.protocol)
    pool = WorkerPool(spec, episodes[0].task_id, workers=workers, rows_per_worker=rows)
    try:
        fields = pool.start()
        policy.connect(
            EnvironmentConventions(spec.cameras, spec.image_size, fields, spec.depth, spec.expert, spec.robot)
        )
        yield pool
    finally:
        pool.close()


@contextmanager
def _cores_left_to_workers(workers: int) -> Iterator[None]:
    """Keep torch, where the policy brought it along, off the workers' cores.

    Its threads wait for each other in busy loops: with more of them than free cores, a forward pass of openvla-nano
    took 13 to 40 times the processor time.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, len(os.sched_getaffinity(0)) - workers)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _finished_before(options: RunOptions) -> set[EpisodeIdentity]:
    """Return the episodes that earlier sessions finished; raise `OutputMismatchError` if they had another seed."""
    path = options.output / LEDGER_NAME
    if not path.exists():
        return set()
    with Ledger(path) as ledger:
        finished, errored = ledger.finished(), ledger.errored()
    others = {episode.seed for episode in finished | errored} - {options.seed}
    if others:
        raise OutputMismatchError(options.output, [f"seed: {min(others)}, then {options.seed}"])
    return finished


def _require_same_configuration(output: Path, info: RunInfo) -> None:
    """Raise `OutputMismatchError` early: `open_run` would say so only after the workers have started."""
    if (output / RUN_INFO_NAME).exists() and (differences := RunInfo.read(output).differences(info)):
        raise OutputMismatchError(output, differences)


def _videos(options: RunOptions) -> Callable[[EpisodeIdentity], Path | None]:
    """Return a function that names the mp4 of the first episodes of each task, and None for the others."""
    folder = options.output / "videos"
    for leftover in folder.glob(".*.tmp.mp4"):  # of a session that was killed
        leftover.unlink()

    def video_of(episode: EpisodeIdentity) -> Path | None:
        name = f"{episode.task_id}_{episode.variant}_seed{episode.seed}_{episode.index:04d}.mp4"
        return folder / name if episode.index < options.videos else None

    return video_of


def _describe(options: RunOptions, source: PolicySource, policy: Policy, plan: Sequence[EpisodeIdentity]) -> RunInfo:
    spec = environment_spec(policy, options.image_size, options.protocol)
    sees = {"cameras": list(spec.cameras), "image_size": spec.image_size if spec.cameras else None, "depth": spec.depth}
    counts = Counter(episode.task for episode in plan)
    return describe_run(
        source.name,
        {**source.describe(), "sees": sees},
        options.protocol.describe(options.suite),
        [PlannedTask(suite=options.suite, task=task, episodes=count) for task, count in counts.items()],
        checkpoint=options.checkpoint,
        accelerator=_accelerator(),
    )


def _accelerator() -> str:
    """Return the GPU's name where the policy brought torch with it and torch sees one."""
    torch = sys.modules.get("torch")
    return str(torch.cuda.get_device_name()) if torch is not None and torch.cuda.is_available() else ""


def _record(policy: str, finished: FinishedEpisode) -> EpisodeRecord:
    result, episode = finished.result, finished.result.episode
    return EpisodeRecord(
        suite=episode.suite,
        task=episode.task,
        variant=episode.variant,
        episode_index=episode.index,
        seed=episode.seed,
        policy=policy,
        instruction=result.instruction,
        scene_hash=result.scene_hash,
        action_hash=result.action_hash,
        outcome=result.outcome,
        reward=result.reward,
        steps=result.steps,
        progress=result.progress,
        phase=result.phase,
        wall_s=finished.wall_s,
        policy_s=finished.policy_s,
        error=result.error,
    )
