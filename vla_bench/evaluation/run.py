"""One evaluation run: a policy, the episodes of a suite, and the folder that receives the results."""

import math
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.files import claimed
from vla_bench.core.machine import usable_cores
from vla_bench.core.types import ACTION_DIM
from vla_bench.envs.descriptions import describe_robot
from vla_bench.evaluation.controls import ControlledPool, controls
from vla_bench.evaluation.environment_slots import EnvironmentSpec
from vla_bench.evaluation.latency import MEASURED, pool_with_latency
from vla_bench.evaluation.options import RunOptions
from vla_bench.evaluation.plan import FixedPlan, Plan, check_perturbations, plan_episodes
from vla_bench.evaluation.protocol import EvaluationProtocol
from vla_bench.evaluation.rollout import Pool, Rollout
from vla_bench.evaluation.run_folder import RunFolder
from vla_bench.evaluation.session import RunProgress, RunSession
from vla_bench.evaluation.worker_pool import EmptyPool, WorkerPool
from vla_bench.policies import EnvironmentConventions, FixedBatch, Policy, PolicySource, find_policy
from vla_bench.results.episode_record import EpisodeRecord
from vla_bench.results.notes import episodes_by_policy_code, policy_code_text
from vla_bench.results.run_info import Numerics, PlannedTask, RunInfo, describe_run

_DEFAULT_IMAGE_SIZE = 224  # pixels, for policies that accept any size
# Reasons in run.json: a resumed run is compared with them, so that their texts must not change.
_GPU_REASON = "a GPU does not promise the same sums for the same batch"
_THREADS_REASON = "several threads, and a batch shape that is not a power of two: a row's place in its batch counts"


@dataclass(frozen=True)
class RunReport:
    """The results of a run after a session."""

    output: Path
    info: RunInfo  # as in run.json
    records: tuple[EpisodeRecord, ...]  # all in the ledger, in order of identity
    progress: RunProgress  # at the end of the session
    resumed: int  # episodes that earlier sessions finished
    workers_replaced: int


def run_evaluation(
    options: RunOptions,
    on_progress: Callable[[RunProgress], None] = lambda progress: None,
    plan: Plan | None = None,
    source: PolicySource | None = None,
    on_note: Callable[[str], None] = warnings.warn,
) -> RunReport:
    """Run the episodes that `options.output` does not contain yet; episodes that ended in an error are tried again.

    Args:
        options: The policy, the episodes and the conditions of the run.
        on_progress: Called at the start and after every finished episode.
        plan: Selects the episodes and the end of the run; by default `options.episodes` episodes of each task.
        source: Replaces the policy that the options name.
        on_note: Called with warnings about the validity of the results, such as a changed code of a user's policy.

    Raises:
        OutputInUseError: Another process writes into the folder.
        OutputMismatchError: The folder holds a run of another configuration.
    """
    describe_robot(options.protocol.robot)  # raises for an unknown robot before any worker starts
    if plan is None:
        plan = FixedPlan(requested_episodes(options))
    check_perturbations(plan.episodes, options.protocol.robot)
    source = source or find_policy(options.policy, options.checkpoint)
    with claimed(options.output), RunFolder(options.output) as folder:
        folder.require_seed(options.seed)
        options = with_recorded_latency(options, folder.info)
        policy = source.load()
        with limit_policy_threads(options.workers):
            info = _describe(options, source, policy, plan.episodes)
            plan.require_comparable(info)
            folder.require_same_configuration(info)  # before the workers start; `RunFolder.start` checks again
            if folder.missing(plan.episodes):
                _report_changed_policy_code(folder, info, on_note)
            return _run(options, policy, info, plan, folder, on_progress)


def requested_episodes(options: RunOptions) -> tuple[EpisodeIdentity, ...]:
    """Return all episodes that the options select."""
    return plan_episodes(
        options.suite, options.tasks, episodes=options.episodes, seed=options.seed, variants=options.variants
    )


def environment_spec(policy: Policy, image_size: int | None, protocol: EvaluationProtocol) -> EnvironmentSpec:
    """Return the options of environments that send what `policy` requires, and nothing else."""
    needs = policy.requirements
    return EnvironmentSpec(
        image_size=image_size or needs.image_size or _DEFAULT_IMAGE_SIZE,
        cameras=needs.cameras,
        rendering=protocol.rendering,
        depth=needs.depth,
        wait_steps=protocol.wait_steps,
        robot=protocol.robot,
        expert=needs.expert,
    )


def _run(
    options: RunOptions,
    policy: Policy,
    info: RunInfo,
    plan: Plan,
    folder: RunFolder,
    on_progress: Callable[[RunProgress], None],
) -> RunReport:
    """Run the rounds of `plan` and record their episodes in `folder`."""
    missing = folder.missing(plan.episodes)
    resumed, alone = len(plan.episodes) - len(missing), policy
    blocks: Callable[[Sequence[int]], list[list[int]]] = _single_block
    if shape := info.numerics.batch_shape:
        policy = FixedBatch(policy, shape, first_spare_slot=options.workers * options.slots_per_worker)
        blocks = policy.full_blocks
    with _connected_pool(options, policy, missing) as (pool, action_dim):
        world: Pool = ControlledPool(pool, controls[options.control]) if options.control else pool
        if missing and options.protocol.latency:
            world, latency = pool_with_latency(world, alone, options.protocol.latency, missing[0])
            info = info.model_copy(update={"protocol": {**info.protocol, "latency": latency}})
        folder.start(info)
        session = RunSession(
            folder,
            total=len(plan.episodes),
            resumed=resumed,
            max_errors=options.max_errors,
            on_progress=on_progress,
        )
        rollout = Rollout(
            policy,
            world,
            session.finish,
            retries=options.retries,
            video_of=_video_paths(options),
            blocks=blocks,
            action_dim=action_dim,
        )
        while round_ := plan.next_round(folder.records()):
            rollout.run(folder.missing(round_))
        folder.finish(plan.verdict)
    return RunReport(
        folder.path, folder.started, tuple(folder.records().values()), session.progress(), resumed, pool.replaced
    )


def _single_block(slots: Sequence[int]) -> list[list[int]]:
    return [list(slots)]


@contextmanager
def _connected_pool(
    options: RunOptions, policy: Policy, episodes: Sequence[EpisodeIdentity]
) -> Iterator[tuple[WorkerPool | EmptyPool, int]]:
    """Yield a pool whose environments fit the policy, and the action size; close the pool afterwards."""
    if not episodes:
        yield EmptyPool(), ACTION_DIM
        return
    workers = min(options.workers, len(episodes))
    slots = min(options.slots_per_worker, math.ceil(len(episodes) / workers))
    spec = environment_spec(policy, options.image_size, options.protocol)
    pool = WorkerPool(spec, episodes[0].task_id, workers=workers, slots_per_worker=slots, stall_s=options.timeout_s)
    try:
        facts = pool.start()
        policy.connect(
            EnvironmentConventions(
                spec.cameras,
                spec.image_size,
                facts.proprioception_fields,
                depth=spec.depth,
                expert=spec.expert,
                action_dim=facts.action_dim,
                robot=spec.robot,
            )
        )
        yield pool, facts.action_dim
    finally:
        pool.close()


def with_recorded_latency(options: RunOptions, info: RunInfo | None) -> RunOptions:
    """Return `options` with the latency that an earlier session of the run `info` measured, if it is `measured`."""
    if options.protocol.latency != MEASURED or info is None:
        return options
    latency = info.protocol.get("latency") or MEASURED
    return replace(options, protocol=replace(options.protocol, latency=str(latency)))


def _report_changed_policy_code(folder: RunFolder, info: RunInfo, on_note: Callable[[str], None]) -> None:
    """Report finished episodes that other code of the policy ran than the rest will."""
    if folder.info is None:
        return
    sessions = [record.session for record in folder.records().values() if record.outcome != "error"]
    now = info.sessions[-1].policy_code
    before = episodes_by_policy_code(folder.info, sessions)
    if others := [policy_code_text(info.policy, code, count) for code, count in before.items() if code != now]:
        on_note(
            f"The code of the policy has changed: in {folder.path}, {', then '.join(others)}, and the rest will run "
            f"with {f'code {now}' if now else 'unknown code'}. A success rate over both describes neither version. "
            "Choose another --output for the new code."
        )


def _video_paths(options: RunOptions) -> Callable[[EpisodeIdentity], Path | None]:
    """Return a function from an episode to the path of its MP4, or None if no video is requested."""
    folder = options.output / "videos"
    for leftover in folder.glob(".*.tmp.mp4"):  # of a killed session
        leftover.unlink()

    def video_of(episode: EpisodeIdentity) -> Path | None:
        name = f"{episode.task_id}_{episode.variant}_seed{episode.seed}_{episode.index:04d}.mp4"
        return folder / name if episode.index < options.videos else None

    return video_of


def _describe(options: RunOptions, source: PolicySource, policy: Policy, plan: Sequence[EpisodeIdentity]) -> RunInfo:
    spec = environment_spec(policy, options.image_size, options.protocol)
    card = {**source.describe(), **({"control": options.control} if options.control else {})}
    counts = Counter((episode.task, episode.variant) for episode in plan)
    return describe_run(
        f"{source.name} ({options.control})" if options.control else source.name,
        card,
        options.protocol.to_record(dict.fromkeys(episode.task_id for episode in plan), spec, card.get("chunk")),
        [
            PlannedTask(suite=options.suite, task=task, variant=variant, episodes=count)
            for (task, variant), count in counts.items()
        ],
        policy_argument=options.policy,
        checkpoint=options.checkpoint,
        numerics=_numerics_of(options.batch_shape or policy.requirements.batch_shape),
        accelerator=_accelerator(),
        threads=_policy_threads(),
        policy_code=source.code_hash(),
    )


def _numerics_of(batch_shape: int | None) -> Numerics:
    """Return the numerics of the loaded policy, which computes `batch_shape` batch rows together."""
    if batch_shape is None:
        return Numerics(device="any", batch_shape=None, bit_equal=True)
    device = _accelerator() or "cpu"
    odd = batch_shape & (batch_shape - 1) != 0 and _policy_threads() > 1
    why_not = _GPU_REASON if device != "cpu" else _THREADS_REASON if odd else ""
    return Numerics(device=device, batch_shape=batch_shape, bit_equal=not why_not, why_not=why_not)


def _accelerator() -> str:
    """Return the name of the GPU if the policy imported torch and torch finds one, else ""."""
    torch = sys.modules.get("torch")
    return str(torch.cuda.get_device_name()) if torch is not None and torch.cuda.is_available() else ""


def _policy_threads() -> int:
    """Return the number of threads of torch, 0 if the policy did not import torch."""
    torch = sys.modules.get("torch")
    return 0 if torch is None else int(torch.get_num_threads())


@contextmanager
def limit_policy_threads(workers: int) -> Iterator[None]:
    """Limit torch, if the policy imported it, to the cores that `workers` leave free.

    The threads of torch wait for each other in busy loops: with more threads than free cores, a forward pass of
    openvla-nano took 13 to 40 times the CPU time.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, usable_cores() - workers)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
