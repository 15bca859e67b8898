"""Worker processes that carry out jobs and report their outcomes."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Generic, TypeVar

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.machine import usable_cores

Job = TypeVar("Job", bound=Hashable)
Answer = TypeVar("Answer")
Work = Callable[[Job], Answer]  # lives in a worker process
WorkFactory = Callable[[], Work[Job, Answer]]  # goes to the worker process, which makes its `Work` from it

DEATHS_PER_JOB = 2  # then it is the job's fault, not the machine's


@dataclass(frozen=True)
class Outcome(Generic[Job, Answer]):
    """What became of one job."""

    job: Job
    answer: Answer | None = None
    error: str = ""  # the job could not be done: a message, or a traceback where that was not foreseen
    exit_code: int | None = None  # the worker died, and this is what of

    @property
    def death(self) -> str:
        """What the worker died of, in words."""
        if self.exit_code is None:
            return ""
        cause = f"signal {-self.exit_code}" if self.exit_code < 0 else f"exit status {self.exit_code}"
        return f"A worker died of {cause}{' (often: out of memory)' if self.exit_code == -9 else ''}"


class Worker(Generic[Job, Answer]):
    """One process."""

    def __init__(self, factory: WorkFactory[Job, Answer], threads: int) -> None:
        context = multiprocessing.get_context("spawn")  # a forked OpenGL or numba does not work
        self.connection, theirs = context.Pipe()
        self.job: Job | None = None
        self.last_group: Hashable = None
        self.process = context.Process(target=_serve, args=(theirs, factory, threads), daemon=True)
        self.process.start()
        theirs.close()  # so that its end is noticed here

    def give(self, job: Job, group: Hashable = None) -> None:
        """Hand the worker a job; a worker that has died is noticed at the next `outcome`.

        What jobs of one `group` have in common is costly to set up.
        """
        self.job, self.last_group = job, group
        try:
            self.connection.send(job)
        except (BrokenPipeError, ConnectionResetError):
            return

    def outcome(self) -> Outcome[Job, Answer]:
        """Return what became of the job; to be called when the connection has something to say."""
        assert self.job is not None, "nothing was asked of this worker"
        job, self.job = self.job, None
        try:
            answer, error = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            return Outcome(job, exit_code=self.process.exitcode)
        return Outcome(job, answer, error)

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self.connection.close()
        self.process.kill()
        self.process.join()


class Workers(Generic[Job, Answer]):
    """A fixed number of processes; one that dies is replaced."""

    def __init__(self, count: int, factory: WorkFactory[Job, Answer]) -> None:
        self._count, self._factory = count, factory
        self._workers: list[Worker[Job, Answer]] = []

    def __enter__(self) -> "Workers[Job, Answer]":
        self._workers = [self._new() for _ in range(self._count)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.stop()

    def idle(self) -> list[Worker[Job, Answer]]:
        """Return the workers that have nothing to do."""
        return [worker for worker in self._workers if worker.job is None]

    def outcomes(self) -> list[Outcome[Job, Answer]]:
        """Wait until at least one worker has something to say, and return it; no worker busy gives nothing."""
        busy = {worker.connection: worker for worker in self._workers if worker.job is not None}
        outcomes = [busy[connection].outcome() for connection in wait(list(busy))] if busy else []  # type: ignore[index]
        dead = [worker for worker in self._workers if not worker.process.is_alive() and worker.job is None]
        for worker in dead:
            worker.stop()
            self._workers[self._workers.index(worker)] = self._new()
        return outcomes

    def _new(self) -> Worker[Job, Answer]:
        return Worker(self._factory, rendering_threads(self._count))


def work_through(
    jobs: Iterable[tuple[Hashable, Job]], count: int, factory: WorkFactory[Job, Answer]
) -> Iterator[tuple[Job, Answer]]:
    """Do all jobs, given as (group, job), in `count` processes and yield each with its answer, as they finish.

    A job whose worker died is done again once. Raise `VlaBenchError` where one cannot be done.
    """
    waiting = deque(jobs)
    group_of = {job: group for group, job in waiting}
    deaths: Counter[Job] = Counter()
    with Workers(min(count, max(1, len(waiting))), factory) as workers:
        while True:
            for worker in workers.idle():
                if waiting:
                    worker.give(*_next(waiting, worker.last_group))
            outcomes = workers.outcomes()
            if not outcomes:
                return
            for outcome in outcomes:
                if outcome.exit_code is not None:
                    deaths[outcome.job] += 1
                    if deaths[outcome.job] >= DEATHS_PER_JOB:
                        raise VlaBenchError(f"{outcome.death} at {outcome.job}. It is not the first there.")
                    waiting.appendleft((group_of[outcome.job], outcome.job))
                elif outcome.error:
                    raise VlaBenchError(outcome.error)
                else:
                    yield outcome.job, outcome.answer  # type: ignore[misc]  # there is one where there is no error


def rendering_threads(workers: int) -> int:
    """Return how many threads a worker's software OpenGL gets; with 0 it draws in the worker's own thread.

    With a worker on each core, 0 threads made half as many demonstrations again as 1 did, and more on a busy machine.
    """
    cores = usable_cores()
    return 0 if workers >= cores else cores // workers


def _next(waiting: "deque[tuple[Hashable, Job]]", last_group: Hashable) -> tuple[Job, Hashable]:
    """Take the next job, of the worker's last group where there is one left."""
    found = next((entry for entry in waiting if entry[0] == last_group), waiting[0])
    waiting.remove(found)
    return found[1], found[0]


def _serve(connection: Connection, factory: WorkFactory[Any, Any], threads: int) -> None:
    """Do what is asked until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the main process decides
    os.environ.setdefault("LP_NUM_THREADS", str(threads))  # software OpenGL reads it once, when it starts
    os.environ.setdefault("MUJOCO_GL", "egl")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work = factory()
    except Exception as error:  # reported as the outcome of whatever is asked for
        connection.recv()
        connection.send((None, _described(error)))
        return
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            answer = work(job), ""
        except Exception as error:  # reported in the main process, which stops
            answer = None, _described(error)
        connection.send(answer)


def _described(error: Exception) -> str:
    return str(error) if isinstance(error, VlaBenchError) else "".join(traceback.format_exception(error))


def _end_with_parent() -> None:
    """Leave no worker behind when the main process was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
