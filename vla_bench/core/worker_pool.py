"""A pool of worker processes that run jobs and report their outcomes."""

import traceback
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.process_environment import process_variables
from vla_bench.core.worker_process import WorkerDiedError, WorkerProcess, send_message

Job = TypeVar("Job", bound=Hashable)
Answer = TypeVar("Answer")
Work = Callable[[Job], Answer]  # exists in the worker process only
WorkFactory = Callable[[], Work[Job, Answer]]  # is sent to the worker process and called there once

MAX_DEATHS_PER_JOB = 2  # if as many workers die of one job, the job is the cause and not the machine


@dataclass(frozen=True)
class Outcome(Generic[Job, Answer]):
    """The outcome of one job: an answer, an error, or the death of the worker."""

    job: Job
    answer: Answer | None = None
    error: str = ""  # a message, or a traceback if the error is not a `VlaBenchError`
    exit_code: int | None = None  # of a worker that died

    @property
    def death(self) -> str:
        """A description of the worker's death; empty if it did not die."""
        if self.exit_code is None:
            return ""
        cause = f"signal {-self.exit_code}" if self.exit_code < 0 else f"exit status {self.exit_code}"
        return f"A worker died of {cause}{' (often: out of memory)' if self.exit_code == -9 else ''}"


class JobWorker(Generic[Job, Answer]):
    """A worker process that runs one job at a time."""

    def __init__(self, factory: WorkFactory[Job, Answer], number: int, workers: int) -> None:
        self.number = number
        self.job: Job | None = None
        self.last_group: Hashable = None
        self._process = WorkerProcess(_serve_jobs, (factory,), process_variables(workers, number))

    @property
    def connection(self) -> Connection:
        """The pipe, for `multiprocessing.connection.wait`."""
        return self._process.connection

    def assign(self, job: Job, group: Hashable = None) -> None:
        """Start a job. If the worker has died, its next `outcome` reports it.

        Jobs of one `group` share a costly preparation, such as the compilation of a scene.
        """
        self.job, self.last_group = job, group
        self._process.send(job)

    def outcome(self) -> Outcome[Job, Answer]:
        """Wait for the current job and return its outcome."""
        assert self.job is not None, "the worker has no job"
        job, self.job = self.job, None
        try:
            answer, error = self._process.receive()
        except WorkerDiedError as death:
            return Outcome(job, exit_code=death.exit_code)
        return Outcome(job, answer, error)

    def is_alive(self) -> bool:
        """Return whether the process runs."""
        return self._process.is_alive()

    def kill(self) -> None:
        """End the process at once."""
        self._process.close()
        self._process.kill()


class JobPool(Generic[Job, Answer]):
    """A context manager with a fixed number of workers. One that dies is replaced."""

    def __init__(self, count: int, factory: WorkFactory[Job, Answer]) -> None:
        self._count, self._factory = count, factory
        self._workers: list[JobWorker[Job, Answer]] = []

    def __enter__(self) -> Self:
        self._workers = [JobWorker(self._factory, number, self._count) for number in range(self._count)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.kill()

    def idle(self) -> list[JobWorker[Job, Answer]]:
        """Return the workers without a job."""
        return [worker for worker in self._workers if worker.job is None]

    def outcomes(self) -> list[Outcome[Job, Answer]]:
        """Wait until at least one job has ended and return the outcomes; return none if no worker has a job."""
        busy = {worker.connection: worker for worker in self._workers if worker.job is not None}
        outcomes = [busy[connection].outcome() for connection in wait(list(busy))] if busy else []  # type: ignore[index]
        for worker in [worker for worker in self._workers if worker.job is None and not worker.is_alive()]:
            worker.kill()
            self._workers[worker.number] = JobWorker(self._factory, worker.number, self._count)
        return outcomes

    def run(self, jobs: Iterable[tuple[Hashable, Job]]) -> Iterator[tuple[Job, Answer]]:
        """Run all jobs, given as (group, job), and yield each job with its answer as it finishes.

        A job whose worker died is run again once.

        Raises:
            VlaBenchError: if a job fails, with the job's message or traceback.
        """
        waiting = deque(jobs)
        group_of = {job: group for group, job in waiting}
        deaths: Counter[Job] = Counter()
        while True:
            for worker in self.idle():
                if waiting:
                    worker.assign(*_take_next_job(waiting, worker.last_group))
            outcomes = self.outcomes()
            if not outcomes:
                return
            for outcome in outcomes:
                if outcome.exit_code is not None:
                    deaths[outcome.job] += 1
                    if deaths[outcome.job] >= MAX_DEATHS_PER_JOB:
                        raise VlaBenchError(
                            f"{outcome.death} in job {outcome.job}, for the second time. The job is the likely cause."
                        )
                    waiting.appendleft((group_of[outcome.job], outcome.job))
                elif outcome.error:
                    raise VlaBenchError(outcome.error)
                else:
                    yield outcome.job, outcome.answer  # type: ignore[misc]  # without an error there is an answer


def run_jobs(
    jobs: Iterable[tuple[Hashable, Job]], count: int, factory: WorkFactory[Job, Answer]
) -> Iterator[tuple[Job, Answer]]:
    """Run all jobs in at most `count` new worker processes, as `JobPool.run` does."""
    waiting = list(jobs)
    with JobPool(min(count, max(1, len(waiting))), factory) as pool:
        yield from pool.run(waiting)


def _take_next_job(waiting: "deque[tuple[Hashable, Job]]", last_group: Hashable) -> tuple[Job, Hashable]:
    """Remove and return the next job, of the worker's last group if one is left."""
    found = next((entry for entry in waiting if entry[0] == last_group), waiting[0])
    waiting.remove(found)
    return found[1], found[0]


def _serve_jobs(connection: Connection, factory: WorkFactory[Any, Any]) -> None:
    try:
        work = factory()
    except Exception as error:  # reported as the outcome of the first job
        connection.recv()
        send_message(connection, (None, _error_text(error)))
        return
    while True:
        job = connection.recv()
        try:
            answer = work(job), ""
        except Exception as error:  # reported to the main process, which stops
            answer = None, _error_text(error)
        send_message(connection, answer)


def _error_text(error: Exception) -> str:
    return str(error) if isinstance(error, VlaBenchError) else "".join(traceback.format_exception(error))
