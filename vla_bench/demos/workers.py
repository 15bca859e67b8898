"""Processes that record episodes, one at a time each, and say how it went."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import TracebackType

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import VlaBenchError
from vla_bench.demos.options import CollectOptions
from vla_bench.demos.parts import Parts
from vla_bench.demos.recording import Recorder

RecorderFactory = Callable[[CollectOptions], Recorder]


@dataclass(frozen=True)
class Outcome:
    """What became of one attempt."""

    identity: EpisodeIdentity
    success: bool = False
    steps: int = 0
    error: str = ""  # the episode could not be recorded: a message, or a traceback where that was not foreseen
    exit_code: int | None = None  # the worker died, and this is what of


class Worker:
    """One recording process."""

    def __init__(self, options: CollectOptions, recorder: RecorderFactory) -> None:
        context = multiprocessing.get_context("spawn")  # a forked OpenGL or numba does not work
        self.connection, theirs = context.Pipe()
        self.identity: EpisodeIdentity | None = None
        self.last_task = ""
        self.process = context.Process(
            target=_work, args=(theirs, options, recorder, _rendering_threads(options.workers)), daemon=True
        )
        self.process.start()
        theirs.close()  # so that its end is noticed here

    def record(self, identity: EpisodeIdentity) -> None:
        """Hand the worker an episode; a worker that has died is noticed at the next `outcome`."""
        self.identity, self.last_task = identity, identity.task
        try:
            self.connection.send(identity)
        except (BrokenPipeError, ConnectionResetError):
            return

    def outcome(self) -> Outcome:
        """Return what became of the episode; to be called when the connection has something to say."""
        assert self.identity is not None, "nothing was asked of this worker"
        identity, self.identity = self.identity, None
        try:
            answer: Outcome = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            return Outcome(identity, exit_code=self.process.exitcode)
        return answer

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self.connection.close()
        self.process.kill()
        self.process.join()


class Workers:
    """A fixed number of recording processes; one that dies is replaced."""

    def __init__(self, count: int, options: CollectOptions, recorder: RecorderFactory) -> None:
        self._new: Callable[[], Worker] = lambda: Worker(options, recorder)
        self._count = count
        self._workers: list[Worker] = []

    def __enter__(self) -> "Workers":
        self._workers = [self._new() for _ in range(self._count)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.stop()

    def idle(self) -> list[Worker]:
        """Return the workers that have nothing to do."""
        return [worker for worker in self._workers if worker.identity is None]

    def outcomes(self) -> list[Outcome]:
        """Wait until at least one worker has something to say, and return it; no worker busy gives nothing."""
        busy = {worker.connection: worker for worker in self._workers if worker.identity is not None}
        outcomes = [busy[connection].outcome() for connection in wait(list(busy))] if busy else []  # type: ignore[index]
        dead = [worker for worker in self._workers if not worker.process.is_alive() and worker.identity is None]
        for worker in dead:
            worker.stop()
            self._workers[self._workers.index(worker)] = self._new()
        return outcomes


def _work(connection: Connection, options: CollectOptions, recorder: RecorderFactory, threads: int) -> None:
    """Serve as a worker process until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the main process decides
    os.environ.setdefault("LP_NUM_THREADS", str(threads))  # software OpenGL reads it once, when it starts
    os.environ.setdefault("MUJOCO_GL", "egl")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    parts = Parts(options.output)
    try:
        record = recorder(options)
    except Exception as error:  # reported as the outcome of whatever is asked for
        connection.send(Outcome(connection.recv(), error=_described(error)))
        return
    while True:
        try:
            identity: EpisodeIdentity = connection.recv()
        except EOFError:
            return
        connection.send(_attempt(record, parts, options, identity))


def _attempt(record: Recorder, parts: Parts, options: CollectOptions, identity: EpisodeIdentity) -> Outcome:
    try:
        demonstration = record(identity)
        if demonstration.success or options.keep_failures:
            parts.keep(record.header(), demonstration)
        else:
            parts.note_failure(identity)
    except Exception as error:  # reported in the main process, which stops
        return Outcome(identity, error=_described(error))
    return Outcome(identity, demonstration.success, demonstration.steps)


def _described(error: Exception) -> str:
    return str(error) if isinstance(error, VlaBenchError) else "".join(traceback.format_exception(error))


def _end_with_parent() -> None:
    """Leave no worker behind when the main process was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _rendering_threads(workers: int) -> int:
    """Return how many threads a worker's software OpenGL gets; with 0 it draws in the worker's own thread.

    With a worker on each core, 0 threads made half as many demonstrations again as 1 did, and more on a busy machine.
    """
    cores = len(os.sched_getaffinity(0))
    return 0 if workers >= cores else cores // workers
