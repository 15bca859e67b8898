"""Parallel collection of demonstrations until every task has enough successes."""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import VlaBenchError
from vla_bench.core.files import claimed
from vla_bench.core.worker_pool import MAX_DEATHS_PER_JOB, JobPool, JobWorker, Outcome
from vla_bench.demos.attempts import (
    AttemptResult,
    Attempts,
    PartialFiles,
    RecorderFactory,
    RecordingFactory,
    read_attempts,
)
from vla_bench.demos.filters import apply_filters
from vla_bench.demos.header import FileHeader
from vla_bench.demos.options import CollectOptions, CollectOptionsError
from vla_bench.demos.recording import DeviceRecorder
from vla_bench.demos.restoring import check_cameras
from vla_bench.demos.schedule import AttemptSchedule
from vla_bench.demos.store import DemonstrationFile
from vla_bench.demos.writing import StoredDemonstration, copy_demonstrations

# ~ How far a collection is, and what it ended with.


@dataclass(frozen=True)
class CollectProgress:
    """How far a collection is."""

    wanted: int  # demonstrations in all
    finished: int  # of them there, those of earlier runs included
    resumed: int  # there before this run began
    attempts: int  # made in this run
    successes: int  # among them
    per_minute: float  # demonstrations, over the last of them
    elapsed_s: float
    task: str = ""  # of the last attempt
    deaths: tuple[str, ...] = ()  # workers that died, and what of; their episodes are made again

    @property
    def success_rate(self) -> float:
        """Share of this run's attempts that succeeded."""
        return self.successes / self.attempts if self.attempts else 0.0

    @property
    def remaining_s(self) -> float | None:
        """Estimate of the time to go [s]; None while there is nothing to estimate from."""
        return 60.0 * (self.wanted - self.finished) / self.per_minute if self.per_minute else None


@dataclass(frozen=True)
class TaskReport:
    """What was collected of one task."""

    task: str  # `suite.task`
    demonstrations: int  # recorded, before any filter
    successes: int  # among them
    attempts: int


@dataclass(frozen=True)
class DroppedDemonstration:
    """A demonstration that a filter left out."""

    task: str  # `suite.task`
    index: int
    by: str  # name of the filter
    reason: str


@dataclass(frozen=True)
class CollectReport:
    """What a collection ended with."""

    output: Path
    tasks: tuple[TaskReport, ...]
    resumed: int
    elapsed_s: float
    size_bytes: int
    deaths: tuple[str, ...] = ()
    dropped: tuple[DroppedDemonstration, ...] = ()
    dropped_steps: int = 0  # without effect, of the demonstrations in the file

    @property
    def demonstrations(self) -> int:
        """Demonstrations of all tasks, before any filter."""
        return sum(task.demonstrations for task in self.tasks)

    @property
    def per_minute(self) -> float:
        """Demonstrations a minute, those of earlier runs not counted."""
        return 60.0 * (self.demonstrations - self.resumed) / self.elapsed_s if self.elapsed_s > 0 else 0.0


# ~ Collect demonstrations: experts act in environments, in parallel, until every task has enough successes.

_RATE_WINDOW = 30  # successes that the rate is measured over; start-up is not in it


class CollectError(VlaBenchError):
    """A collection that had to stop; what was finished is kept."""

    def __init__(self, cause: str, kept: int, folder: Path) -> None:
        super().__init__(f"{cause.rstrip()}\n{_resume_hint(kept, folder)}" if kept else cause.rstrip())


class CollectInterrupted(KeyboardInterrupt):
    """Ctrl-C during a collection; its text says what is kept and how to go on."""

    def __init__(self, kept: int, folder: Path) -> None:
        super().__init__(f"Stopped. {_resume_hint(kept, folder)}")


OnProgress = Callable[[CollectProgress], None]


def collect(
    options: CollectOptions, on_progress: OnProgress | None = None, *, recorder: RecorderFactory = DeviceRecorder
) -> CollectReport:
    """Make a demonstration file, or go on with one that was begun or asked for with fewer episodes.

    The file holds the first `episodes` successes of each task in the order of their indices; the number of workers
    changes nothing but the time. Until it is whole, finished demonstrations lie in `<output>.parts`.

    Raises:
        OutputInUseError: another process is collecting into the same output.
        OutputMismatchError: the output was begun or made with another configuration.
        ExpertUnsuccessfulError: the expert hardly ever succeeds.
        CollectError: a worker failed; what was finished is kept.
        CollectInterrupted: Ctrl-C; what was finished is kept.
    """
    options = replace(options, output=Path(options.output))
    check_cameras(options.cameras)
    with claimed(options.output):
        return _Collection(options, recorder, on_progress or (lambda progress: None)).run()


@dataclass
class _Collection:
    """One run of `collect`, holding the output's lock."""

    options: CollectOptions
    recorder: RecorderFactory
    on_progress: OnProgress
    attempts: int = 0
    successes: int = 0
    success_times_s: deque[float] = field(default_factory=lambda: deque(maxlen=_RATE_WINDOW))
    deaths: list[str] = field(default_factory=list)
    deaths_of: Counter[EpisodeIdentity] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.began_s = time.monotonic()
        self.parts = PartialFiles(self.options.output)
        self.configuration = self.options.configuration()
        earlier = self._earlier()
        task_ids = [task.id for task in self.options.chosen_tasks()]
        self.schedules = {task_id: self._schedule(task_id, earlier) for task_id in task_ids}
        self.header: FileHeader | None = None  # of what was recorded first, which all the rest must share
        self.resumed = self._finished()

    def run(self) -> CollectReport:
        """Record what is missing, then write the output."""
        whole_already = self.options.output.is_file() and self._is_complete()
        self._report()
        try:
            if not self._is_complete():
                self._record()
            if not whole_already:
                self._write()
        except KeyboardInterrupt:
            raise CollectInterrupted(self._finished(), self.parts.folder) from None
        self.parts.remove()
        return self._final_report()

    def _schedule(self, task_id: str, earlier: Attempts) -> AttemptSchedule:
        options = self.options
        return AttemptSchedule(
            task_id,
            options.episodes,
            earlier.outcomes(task_id),
            all_count=options.counted == "episodes",
            indices=None if options.indices is None else options.indices.get(task_id, ()),
        )

    def _earlier(self) -> Attempts:
        """Return what earlier runs have finished; raise where the output is something else."""
        found = Attempts()
        if self.options.output.exists():
            found, episodes = read_attempts(self.options.output, self.configuration, self.options.episodes)
            if episodes > self.options.episodes:
                raise CollectOptionsError(
                    f"{self.options.output} already holds {episodes} episodes of each task, "
                    f"more than the {self.options.episodes} asked for. Choose another --output."
                )
        if self.parts.folder.exists():
            self.parts.begin(self.configuration)
            for task_id, attempts in self.parts.attempts().by_task.items():
                found.by_task[task_id] = {**attempts, **found.by_task[task_id]}
        return found

    def _record(self) -> None:
        self.parts.begin(self.configuration)
        missing = max(1, self._wanted() - self._finished())
        with JobPool(min(self.options.workers, missing), RecordingFactory(self.options, self.recorder)) as workers:
            while not self._is_complete():
                for worker in workers.idle():
                    self._assign(worker)
                for outcome in workers.outcomes():
                    self._handle_outcome(outcome)

    def _assign(self, worker: JobWorker[EpisodeIdentity, AttemptResult]) -> None:
        """Give a worker its last task again where possible: another one costs it the building of a scene.

        Otherwise it gets the task that is furthest behind, so that workers spread over the tasks.
        """
        schedules = self.schedules.values()
        for schedule in sorted(schedules, key=lambda one: (one.task != worker.last_group, one.counted + one.running)):
            index = schedule.next_index()
            if index is not None:
                suite, task = schedule.task.split(".", 1)
                identity = EpisodeIdentity(suite, task, index, self.options.seed, self.options.variant)
                worker.assign(identity, group=schedule.task)
                return

    def _handle_outcome(self, outcome: Outcome[EpisodeIdentity, AttemptResult]) -> None:
        identity = outcome.job
        schedule = self.schedules[identity.task_id]
        if outcome.error:
            where = f"Recording episode {identity.index} of {identity.task_id} failed: "
            raise CollectError(where + outcome.error, self._finished(), self.parts.folder)
        if outcome.answer is None:
            self._record_death(identity, outcome.death)
            schedule.release(identity.index)
        elif outcome.answer.stopped:
            raise KeyboardInterrupt
        else:
            self._require_compatible(identity, outcome.answer.header)
            schedule.record_outcome(identity.index, success=outcome.answer.success)
            self.attempts += 1
            self.successes += outcome.answer.success
            if outcome.answer.success:
                self.success_times_s.append(time.monotonic())
        self._report(identity.task_id)

    def _record_death(self, identity: EpisodeIdentity, cause: str) -> None:
        death = f"{cause} in episode {identity.index} of {identity.task_id}."
        self.deaths.append(death)
        self.deaths_of[identity] += 1
        if self.deaths_of[identity] >= MAX_DEATHS_PER_JOB:
            raise CollectError(f"{death} It is not the first there.", self._finished(), self.parts.folder)

    def _require_compatible(self, identity: EpisodeIdentity, header: FileHeader | None) -> None:
        """Raise where what was recorded of a task cannot stand in one file with the rest."""
        self.header = self.header or header
        if self.header is None or header is None:
            return
        if differences := self.header.differences(header):
            problem = f"{identity.task_id} cannot share a file with the tasks before it: {'; '.join(differences)}."
            raise CollectError(
                f"{problem} Give it an --output of its own, or use --file-per-suite.",
                self._finished(),
                self.parts.folder,
            )

    def _write(self) -> None:
        """Join the parts, and what an earlier output held, into the output."""
        attempts = self._earlier()
        sources: list[StoredDemonstration] = []
        for task_id, schedule in self.schedules.items():
            indices = [*schedule.selected(), *(schedule.failed() if self.options.keep_failures else ())]
            kept = (attempts.source(task_id, index) for index in sorted(indices))
            sources.extend(source for source in kept if source is not None)
        if not sources:
            raise CollectError("Nothing was recorded.", 0, self.parts.folder)
        with DemonstrationFile(sources[0].path) as first:
            header = first.header
        if len(self.schedules) > 1:
            header = header.of_tasks(self.schedules)
        sources, report = self._filtered(sources)
        copy_demonstrations(self.options.output, replace(header, collection=self._collection(report)), sources)

    def _filtered(
        self, sources: list[StoredDemonstration]
    ) -> tuple[list[StoredDemonstration], list[DroppedDemonstration]]:
        """Leave out what the filters drop, and say what that is."""
        summaries = {}
        for number, source in enumerate(sources):
            with DemonstrationFile(source.path) as file:
                summaries[str(number)] = file.summary(source.name)
        dropped = apply_filters(summaries, self.options.filters.filters())
        kept = [source for number, source in enumerate(sources) if str(number) not in dropped]
        if not kept:
            raise CollectError("The filters drop every demonstration.", len(sources), self.parts.folder)
        identities = {name: summaries[name].identity for name in dropped}
        return kept, [DroppedDemonstration(one.task_id, one.index, *dropped[name]) for name, one in identities.items()]

    def _collection(self, dropped: list[DroppedDemonstration]) -> dict[str, object]:
        failed = {task_id: list(schedule.failed()) for task_id, schedule in self.schedules.items()}
        return {
            "configuration": self.configuration,
            "episodes": self.options.episodes,
            "failed": failed,
            "dropped": [list(astuple(one)) for one in dropped],
        }

    def _is_complete(self) -> bool:
        return all(schedule.is_complete() for schedule in self.schedules.values())

    def _finished(self) -> int:
        return sum(schedule.counted for schedule in self.schedules.values())

    def _wanted(self) -> int:
        return sum(schedule.episodes for schedule in self.schedules.values())

    def _per_minute(self) -> float:
        times = self.success_times_s
        if len(times) < 2 or times[-1] == times[0]:
            return 60.0 * len(times) / max(time.monotonic() - self.began_s, 1e-9)
        return 60.0 * (len(times) - 1) / (times[-1] - times[0])

    def _report(self, task: str = "") -> None:
        wanted = self._wanted()
        self.on_progress(
            CollectProgress(
                wanted=wanted,
                finished=self._finished(),
                resumed=self.resumed,
                attempts=self.attempts,
                successes=self.successes,
                per_minute=self._per_minute(),
                elapsed_s=time.monotonic() - self.began_s,
                task=task,
                deaths=tuple(self.deaths),
            )
        )

    def _final_report(self) -> CollectReport:
        tasks = [
            TaskReport(task_id, len(schedule.selected()), schedule.successes, schedule.counted + len(schedule.failed()))
            for task_id, schedule in self.schedules.items()
        ]
        elapsed_s, size = time.monotonic() - self.began_s, self.options.output.stat().st_size
        with DemonstrationFile(self.options.output) as file:
            dropped = tuple(DroppedDemonstration(*one) for one in file.header.collection.get("dropped", ()))
            dropped_steps = sum(file.summary(name).dropped_steps for name in file.names)
        return CollectReport(
            self.options.output,
            tuple(tasks),
            self.resumed,
            elapsed_s,
            size,
            tuple(self.deaths),
            dropped,
            dropped_steps,
        )


def _resume_hint(kept: int, folder: Path) -> str:
    return f"{kept} finished demonstrations are kept in {folder}; the same command goes on from there."
