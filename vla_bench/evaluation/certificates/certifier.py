"""Certification: expert trials in several processes until each task variant has enough solvable episodes."""

import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from vla_bench.authoring.fingerprint import fingerprint
from vla_bench.core.episode import CLEAN, EpisodeIdentity
from vla_bench.core.files import Closing
from vla_bench.core.worker_pool import JobPool
from vla_bench.evaluation.certificates.store import CertificateStore, CertificateSubject
from vla_bench.results.certificates import Certificate
from vla_bench.tasks import get_task

if TYPE_CHECKING:
    from vla_bench.envs.environment import VlaBenchEnv


KnownCertificates = Mapping[EpisodeIdentity, Certificate]
_IMAGE_SIZE = 16  # pixels; no camera is rendered
_MAX_JOB_EPISODES = 10  # a job creates at least one environment, so larger jobs are cheaper


@dataclass(frozen=True)
class TaskVariant:
    """A task under one perturbation, or the clean task."""

    suite: str
    task: str
    variant: str

    def episode(self, index: int, seed: int) -> EpisodeIdentity:
        """Return the episode with this index and base seed."""
        return EpisodeIdentity(self.suite, self.task, index, seed, self.variant)

    def clean(self) -> "TaskVariant":
        """Return the clean variant of the same task."""
        return TaskVariant(self.suite, self.task, CLEAN)


@dataclass(frozen=True)
class EpisodeQuota:
    """The number of certified episodes per task variant, and the number of indices to search."""

    episodes: int
    most: int
    seed: int = 0

    def untried(self, cell: TaskVariant, known: KnownCertificates) -> list[EpisodeIdentity]:
        """Return the next episodes to certify; none if there are enough or all indices were tried.

        An index counts only if the expert solves its clean and its perturbed episode; the clean one is tried first.
        """
        counted, untried = 0, list[EpisodeIdentity]()
        for index in range(self.most):
            if counted >= self.episodes:
                break
            clean, own = cell.clean().episode(index, self.seed), cell.episode(index, self.seed)
            ask = next((episode for episode in (clean, own) if episode not in known), None)
            if ask is not None and (ask == clean or known[clean].solved):
                untried.append(ask)
                counted += 1  # assumed to be solvable until it is tried
            elif ask is None:
                counted += known[clean].solved and known[own].solved
        return untried

    def used(self, cell: TaskVariant, known: KnownCertificates) -> list[EpisodeIdentity]:
        """Return the first episodes that the expert solves in both the clean and the perturbed variant."""
        found: list[EpisodeIdentity] = []
        for index in range(self.most):
            pair = cell.clean().episode(index, self.seed), cell.episode(index, self.seed)
            if len(found) < self.episodes and all(episode in known and known[episode].solved for episode in pair):
                found.append(pair[1])
        return found


@dataclass(frozen=True, eq=False)
class TrialJob:
    """Episodes of one task variant to try."""

    episodes: tuple[EpisodeIdentity, ...]
    robot: str
    wait_steps: int | None
    known: Mapping[EpisodeIdentity, tuple[Certificate, ...]]  # by the clean episode with the same scene


@dataclass(frozen=True)
class TrialResult:
    """The certificates of a job."""

    job: TrialJob
    certificates: tuple[Certificate, ...]
    seconds: float


def run_trials(job: TrialJob) -> TrialResult:
    """Certify the episodes of a job; an episode that raises gets a certificate with the error."""
    began = time.perf_counter()
    certificates = tuple(_try_certify(job, episode) for episode in job.episodes)
    return TrialResult(job, certificates, time.perf_counter() - began)


def certify(environment: "VlaBenchEnv", episode: EpisodeIdentity, known: Sequence[Certificate] = ()) -> Certificate:
    """Run the expert in the episode, clean or perturbed, and return the certificate.

    `known` are certificates of the same scene under other perturbations; one with equal physics is reused. The random
    numbers of the expert are those of the clean episode, so that its behavior depends on the physics only.
    """
    from vla_bench.envs.perturbations.simulation import physics_hash  # loads mujoco
    from vla_bench.experts import make_expert

    _, info = environment.reset(seed=episode.scene_seed())
    scene, physics = str(info["scene_hash"]), physics_hash(environment.simulation)
    for other in known:
        if other.physics_hash == physics:
            return replace(other, episode=episode, scene_hash=scene)
    world, expert = environment.simulation.world, make_expert(environment.task)
    expert.reset(world, replace(episode, variant=CLEAN).generator("expert"))
    steps, ended = 0, False
    while not ended:
        _, terminated, truncated, info = environment.advance(expert.act(world))
        steps, ended = steps + 1, terminated or truncated
    return Certificate(episode, scene, physics, bool(info["success"]), steps, episode.variant)


def _try_certify(job: TrialJob, episode: EpisodeIdentity) -> Certificate:
    try:
        environment = _trial_environment(episode.task_id, episode.perturbation, job.robot, job.wait_steps)
        return certify(environment, episode, job.known.get(replace(episode, variant=CLEAN), ()))
    except Exception:
        return Certificate(episode, "", "", False, 0, episode.variant, error=traceback.format_exc())


@lru_cache(maxsize=1)
def _trial_environment(task_id: str, perturbation: str, robot: str, wait_steps: int | None) -> "VlaBenchEnv":
    from vla_bench.envs.environment import make  # loads mujoco

    return make(
        task_id,
        image_size=_IMAGE_SIZE,
        cameras=(),
        wait_steps=wait_steps,
        robot=robot,
        perturb=perturbation or None,
    )


@dataclass(frozen=True)
class CertifiedEpisodes:
    """The certificates of some task variants."""

    quota: EpisodeQuota
    known: Mapping[EpisodeIdentity, Certificate]

    def used(self, cells: Sequence[TaskVariant]) -> tuple[EpisodeIdentity, ...]:
        """Return the usable episodes of the cells and their clean counterparts, task by task."""
        clean: dict[TaskVariant, set[int]] = {}
        perturbed: list[EpisodeIdentity] = []
        for cell in cells:
            episodes = self.quota.used(cell, self.known)
            clean.setdefault(cell.clean(), set()).update(episode.index for episode in episodes)
            perturbed += [episode for episode in episodes if cell.variant != CLEAN]
        seed = self.quota.seed
        originals = [cell.episode(index, seed) for cell, found in clean.items() for index in sorted(found)]
        order = {task: number for number, task in enumerate(dict.fromkeys(cell.task for cell in cells))}
        return tuple(sorted([*originals, *perturbed], key=lambda episode: order[episode.task]))  # stable: clean first


@dataclass(frozen=True)
class Certifier:
    """The options of a certification, and its store."""

    store: CertificateStore
    robot: str = "panda"
    wait_steps: int | None = None  # as in the runs that use the certificates; None: as the task says
    workers: int = 1

    def certify(
        self,
        cells: Sequence[TaskVariant],
        quota: EpisodeQuota,
        on_progress: Callable[[int, int, TrialResult | None], None] = lambda done, total, result: None,
    ) -> CertifiedEpisodes:
        """Try missing episodes; report the number of certified and of requested episodes to `on_progress`."""
        subjects = {cell: self._subject(cell) for cell in {**dict.fromkeys(cells), **_clean_variants(cells)}}
        known = {
            one.episode: one for subject in subjects.values() for one in self.store.certificates(subject, quota.seed)
        }
        done = len(known)
        on_progress(done, done, None)
        with _TrialProcesses(self.workers) as processes:
            while requested := dict.fromkeys(episode for cell in cells for episode in quota.untried(cell, known)):
                total = done + len(requested)
                for result in processes.run(list(self._jobs(requested, known))):
                    known.update({one.episode: one for one in result.certificates})
                    self._store(result, subjects)
                    done += len(result.certificates)
                    on_progress(done, total, result)
        return CertifiedEpisodes(quota, known)

    def _store(self, result: TrialResult, subjects: Mapping[TaskVariant, CertificateSubject]) -> None:
        first = result.certificates[0].episode
        subject = subjects[TaskVariant(first.suite, first.task, first.variant)]
        self.store.add(subject, result.certificates, result.seconds / len(result.certificates), _today())

    def _jobs(
        self, requested: Iterable[EpisodeIdentity], known: Mapping[EpisodeIdentity, Certificate]
    ) -> Iterator[TrialJob]:
        of_scene: dict[EpisodeIdentity, list[Certificate]] = {}
        for one in known.values():
            if one.shown_in == one.episode.variant and not one.error:
                of_scene.setdefault(one.clean, []).append(one)
        groups: dict[tuple[str, str], list[EpisodeIdentity]] = {}
        for episode in requested:
            groups.setdefault((episode.task_id, episode.variant), []).append(episode)
        for group in groups.values():
            for start in range(0, len(group), _MAX_JOB_EPISODES):
                part = tuple(group[start : start + _MAX_JOB_EPISODES])
                scenes = [replace(episode, variant=CLEAN) for episode in part]
                mine = {scene: tuple(of_scene.get(scene, ())) for scene in scenes}
                yield TrialJob(part, self.robot, self.wait_steps, mine)

    def _subject(self, cell: TaskVariant) -> CertificateSubject:
        perturbation = "" if cell.variant == CLEAN else cell.variant
        whole = fingerprint(get_task(f"{cell.suite}.{cell.task}"), self.robot, perturbation=perturbation)
        wait = "" if self.wait_steps is None else f"/{self.wait_steps}"
        return CertificateSubject(cell.suite, cell.task, cell.variant, self.robot, whole + wait)


def _clean_variants(cells: Sequence[TaskVariant]) -> dict[TaskVariant, None]:
    return dict.fromkeys(cell.clean() for cell in cells)


class _TrialProcesses(Closing):
    """Runs jobs in worker processes that start with the first job, or in this process if `count` is 1."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._exit_stack = ExitStack()
        self._pool: JobPool[TrialJob, TrialResult] | None = None

    def run(self, jobs: Sequence[TrialJob]) -> Iterator[TrialResult]:
        """Yield the results in the order of completion."""
        if self._count == 1:
            yield from map(run_trials, jobs)
            return
        if self._pool is None:
            self._pool = self._exit_stack.enter_context(JobPool(self._count, _trial_work))
        for _, result in self._pool.run((job.episodes[0].task_id, job) for job in jobs):
            yield result

    def close(self) -> None:
        """End the worker processes."""
        self._exit_stack.close()


def _trial_work() -> Callable[[TrialJob], TrialResult]:
    return run_trials


def _today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"
