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

_RATE_WINDOW = 30  # latest successes over which the rate is measured, so that start-up does not count


@dataclass(frozen=True)
class CollectProgress:
    """Progress of a running collection."""

    wanted: int  # demonstrations of all tasks
    finished: int  # demonstrations finished so far, in earlier runs, too
    resumed: int  # demonstrations finished before this run
    attempts: int  # of this run
    successes: int  # of this run
    per_minute: float  # demonstrations, measured over the latest ones
    elapsed_s: float
    task: str = ""  # of the latest attempt
    deaths: tuple[str, ...] = ()  # one text for each worker that died; its episode is recorded again

    @property
    def success_rate(self) -> float:
        """Fraction of this run's attempts that succeeded."""
        return self.successes / self.attempts if self.attempts else 0.0

    @property
    def remaining_s(self) -> float | None:
        """Estimated remaining time [s]; None before the first success."""
        return 60.0 * (self.wanted - self.finished) / self.per_minute if self.per_minute else None


@dataclass(frozen=True)
class TaskReport:
    """Result of collecting one task."""

    task: str  # `suite.task`
    demonstrations: int  # recorded, before filtering
    successes: int  # among the demonstrations
    attempts: int


@dataclass(frozen=True)
class DroppedDemonstration:
    """A demonstration that a filter dropped."""

    task: str  # `suite.task`
    index: int
    filter_name: str
    reason: str


@dataclass(frozen=True)
class CollectReport:
    """Result of a collection."""

    output: Path
    tasks: tuple[TaskReport, ...]
    resumed: int
    elapsed_s: float
    size_bytes: int
    deaths: tuple[str, ...] = ()
    dropped: tuple[DroppedDemonstration, ...] = ()
    dropped_steps: int = 0  # no-op steps that were removed from the demonstrations in the file

    @property
    def demonstrations(self) -> int:
        """Demonstrations of all tasks, before filtering."""
        return sum(task.demonstrations for task in self.tasks)

    @property
    def per_minute(self) -> float:
        """Demonstrations a minute in this run."""
        return 60.0 * (self.demonstrations - self.resumed) / self.elapsed_s if self.elapsed_s > 0 else 0.0


class CollectError(VlaBenchError):
    """A collection that had to stop; finished demonstrations stay in the folder of parts."""

    def __init__(self, cause: str, finished: int, folder: Path) -> None:
        super().__init__(f"{cause.rstrip()}\n{_resume_hint(finished, folder)}" if finished else cause.rstrip())


class CollectInterrupted(KeyboardInterrupt):
    """Ctrl-C during a collection; the message states how many demonstrations are finished and how to resume."""

    def __init__(self, finished: int, folder: Path) -> None:
        super().__init__(f"Stopped. {_resume_hint(finished, folder)}")


OnProgress = Callable[[CollectProgress], None]


def collect(
    options: CollectOptions, on_progress: OnProgress | None = None, *, recorder: RecorderFactory = DeviceRecorder
) -> CollectReport:
    """Collect a demonstration file, or resume one that is unfinished or has fewer episodes than requested.

    The file holds the first `episodes` successes of each task in the order of their indices, whatever the number of
    workers. Until the file is complete, finished demonstrations are stored in `<output>.parts`.

    Raises:
        OutputInUseError: another process is collecting into the same output.
        OutputMismatchError: the output was started or made with another configuration.
        ExpertUnsuccessfulError: the expert rarely or never succeeds.
        CollectError: a worker failed; finished demonstrations stay in `<output>.parts`.
        CollectInterrupted: Ctrl-C; finished demonstrations stay in `<output>.parts`.
    """
    options = replace(options, output=Path(options.output))
    check_cameras(options.cameras)
    with claimed(options.output):
        return _Collection(options, recorder, on_progress or (lambda progress: None)).run()


@dataclass
class _Collection:
    """One run of `collect`, which holds the lock of the output."""

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
        self.header: FileHeader | None = None  # of the first recording; all others must match it
        self.resumed = self._finished()

    def run(self) -> CollectReport:
        """Record the missing demonstrations, then write the output."""
        is_output_complete = self.options.output.is_file() and self._is_complete()
        self._report()
        try:
            if not self._is_complete():
                self._record()
            if not is_output_complete:
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
        """Return the finished attempts of earlier runs; raise where the output was made in another way."""
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
        """Give a worker an episode of its latest task where possible: another task needs a new scene.

        Otherwise it gets the task with the fewest demonstrations, so that workers spread over the tasks.
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
            raise CollectError(f"{death} Workers died in this episode before.", self._finished(), self.parts.folder)

    def _require_compatible(self, identity: EpisodeIdentity, header: FileHeader | None) -> None:
        """Raise where a recording of a task cannot be stored in one file with the others."""
        self.header = self.header or header
        if self.header is None or header is None:
            return
        if differences := self.header.differences(header):
            problem = f"{identity.task_id} cannot be stored in one file with the other tasks: {'; '.join(differences)}."
            raise CollectError(
                f"{problem} Give it an --output of its own, or use --file-per-suite.",
                self._finished(),
                self.parts.folder,
            )

    def _write(self) -> None:
        """Write the output from the parts and the demonstrations of an earlier output."""
        attempts = self._earlier()
        sources: list[StoredDemonstration] = []
        for task_id, schedule in self.schedules.items():
            indices = [*schedule.selected(), *(schedule.failed() if self.options.keep_failures else ())]
            stored = (attempts.stored(task_id, index) for index in sorted(indices))
            sources.extend(one for one in stored if one is not None)
        if not sources:
            raise CollectError("Nothing was recorded.", 0, self.parts.folder)
        with DemonstrationFile(sources[0].path) as first:
            header = first.header
        if len(self.schedules) > 1:
            header = header.of_tasks(self.schedules)
        sources, report = self._apply_filters(sources)
        copy_demonstrations(self.options.output, replace(header, collection=self._collection(report)), sources)

    def _apply_filters(
        self, sources: list[StoredDemonstration]
    ) -> tuple[list[StoredDemonstration], list[DroppedDemonstration]]:
        """Return the demonstrations that the filters keep, and those that they drop."""
        summaries = {str(number): source.summary for number, source in enumerate(sources)}
        dropped = apply_filters(summaries, self.options.filters.filters())
        remaining = [source for number, source in enumerate(sources) if str(number) not in dropped]
        if not remaining:
            raise CollectError("The filters drop every demonstration.", len(sources), self.parts.folder)
        identities = {name: summaries[name].identity for name in dropped}
        return remaining, [
            DroppedDemonstration(one.task_id, one.index, *dropped[name]) for name, one in identities.items()
        ]

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


def _resume_hint(finished: int, folder: Path) -> str:
    return f"{finished} finished demonstrations are stored in {folder}; run the same command again to resume."
