"""Certifying cells: rounds of trials by several processes until each cell has as many episodes as it wants."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.pool import Pool

from vla_bench.authoring.fingerprint import fingerprint
from vla_bench.core.closing import Closing
from vla_bench.core.episode import CLEAN, EpisodeIdentity
from vla_bench.envs.vector.processes import process_variables
from vla_bench.evaluation.certificates.cells import Cell, Quota
from vla_bench.evaluation.certificates.store import CertificateStore, Subject
from vla_bench.evaluation.certificates.trials import TrialJob, TrialResult, run_trials
from vla_bench.results.certificates import Certificate
from vla_bench.tasks import get_task

_MOST_OF_A_JOB = 10  # episodes; fewer jobs make fewer environments


@dataclass(frozen=True)
class Certified:
    """All certificates of some cells."""

    quota: Quota
    known: Mapping[EpisodeIdentity, Certificate]

    def used(self, cells: Sequence[Cell]) -> tuple[EpisodeIdentity, ...]:
        """Return the episodes to measure on, task after task: those of every cell, and the clean twins of all."""
        clean: dict[Cell, set[int]] = {}
        perturbed: list[EpisodeIdentity] = []
        for cell in cells:
            episodes = self.quota.used(cell, self.known)
            clean.setdefault(cell.clean(), set()).update(episode.index for episode in episodes)
            perturbed += [episode for episode in episodes if cell.variant != CLEAN]
        twins = [cell.episode(index, self.quota.seed) for cell, found in clean.items() for index in sorted(found)]
        order = {task: number for number, task in enumerate(dict.fromkeys(cell.task for cell in cells))}
        return tuple(sorted([*twins, *perturbed], key=lambda episode: order[episode.task]))  # stable: clean first


@dataclass(frozen=True)
class Certifier:
    """How episodes are certified."""

    store: CertificateStore
    robot: str = "panda"
    wait_steps: int | None = None  # as the runs that use the certificates
    workers: int = 1

    def certify(
        self,
        cells: Sequence[Cell],
        quota: Quota,
        on_progress: Callable[[int, int, TrialResult | None], None] = lambda done, total, result: None,
    ) -> Certified:
        """Try what is not known yet; `on_progress` hears of the episodes done and of those asked for so far."""
        subjects = {cell: self._subject(cell) for cell in {**dict.fromkeys(cells), **_clean_of(cells)}}
        known = {
            one.episode: one for subject in subjects.values() for one in self.store.certificates(subject, quota.seed)
        }
        done = len(known)
        on_progress(done, done, None)
        with _Processes(self.workers) as processes:
            while asked := dict.fromkeys(episode for cell in cells for episode in quota.untried(cell, known)):
                total = done + len(asked)
                for result in processes.run(list(self._jobs(asked, known))):
                    known.update({one.episode: one for one in result.certificates})
                    self._keep(result, subjects)
                    done += len(result.certificates)
                    on_progress(done, total, result)
        return Certified(quota, known)

    def _keep(self, result: TrialResult, subjects: Mapping[Cell, Subject]) -> None:
        first = result.certificates[0].episode
        subject = subjects[Cell(first.suite, first.task, first.variant)]
        self.store.add(subject, result.certificates, result.seconds / len(result.certificates), _today())

    def _jobs(
        self, asked: Iterable[EpisodeIdentity], known: Mapping[EpisodeIdentity, Certificate]
    ) -> Iterator[TrialJob]:
        of_scene: dict[EpisodeIdentity, list[Certificate]] = {}
        for one in known.values():
            if one.shown_in == one.episode.variant and not one.error:
                of_scene.setdefault(one.clean, []).append(one)
        groups: dict[tuple[str, str], list[EpisodeIdentity]] = {}
        for episode in asked:
            groups.setdefault((episode.task_id, episode.variant), []).append(episode)
        for group in groups.values():
            for start in range(0, len(group), _MOST_OF_A_JOB):
                part = tuple(group[start : start + _MOST_OF_A_JOB])
                scenes = [replace(episode, variant=CLEAN) for episode in part]
                mine = {scene: tuple(of_scene.get(scene, ())) for scene in scenes}
                yield TrialJob(part, self.robot, self.wait_steps, mine)

    def _subject(self, cell: Cell) -> Subject:
        perturbation = "" if cell.variant == CLEAN else cell.variant
        whole = fingerprint(get_task(f"{cell.suite}.{cell.task}"), self.robot, perturbation=perturbation)
        wait = "" if self.wait_steps is None else f"/{self.wait_steps}"
        return Subject(cell.suite, cell.task, cell.variant, self.robot, whole + wait)


def _clean_of(cells: Sequence[Cell]) -> dict[Cell, None]:
    return dict.fromkeys(cell.clean() for cell in cells)


class _Processes(Closing):
    """Runs jobs in processes that are started for the first of them; a single one is this process."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool: Pool | None = None

    def run(self, jobs: Sequence[TrialJob]) -> Iterator[TrialResult]:
        """Yield the results as they come."""
        if self._count == 1:
            return map(run_trials, jobs)
        if self._pool is None:
            self._pool = get_context("spawn").Pool(self._count, _begin, (process_variables(self._count),))
        return self._pool.imap_unordered(run_trials, jobs)

    def close(self) -> None:
        """End them."""
        if self._pool is not None:
            self._pool.terminate()


def _begin(variables: Mapping[str, str]) -> None:
    """Set up a process before it loads anything."""
    os.environ.update(variables)


def _today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"
