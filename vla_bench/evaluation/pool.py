"""Worker processes, each with some rows of the batch. A worker that dies or hangs is replaced."""

import ctypes
import multiprocessing
import selectors
import time
from collections import deque
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from vla_bench.core.errors import VlaBenchError
from vla_bench.envs.vector.processes import process_variables, send_quickly
from vla_bench.envs.vector.shared import SharedPictures, pictures_of
from vla_bench.evaluation.episodes import Command, Event, Lost, Ready
from vla_bench.evaluation.rows import EnvironmentFacts, EnvironmentSpec
from vla_bench.evaluation.worker import SharedWithWorker, Started, StartFailed, serve

_STALL_S = 600.0  # a worker that is silent for so long over one command hangs
_START_S = 600.0  # the same while it starts: the first environment may have to be compiled
_START_ATTEMPTS = 3
_JOIN_S = 5.0
_NO_ROW = -1


class WorkerStartError(VlaBenchError):
    """The environments of a run do not work on this machine."""


class NoWorkers:
    """The pool of a run that has nothing left to do."""

    rows = 0
    replaced = 0

    def send(self, command: Command) -> None:
        """Refuse: there is no row."""
        raise IndexError(f"No row {command.row}: this pool is empty.")

    def events(self) -> list[Event]:
        """Return nothing: nothing runs."""
        return []


class WorkerPool:
    """`workers` processes with `rows_per_worker` rows each; row r belongs to worker r // rows_per_worker."""

    def __init__(
        self,
        spec: EnvironmentSpec,
        task_id: str,
        *,
        workers: int,
        rows_per_worker: int,
        stall_s: float = _STALL_S,
    ) -> None:
        self.rows = workers * rows_per_worker
        self.replaced = 0  # workers that died or hung so far
        self._rows_per_worker = rows_per_worker
        pictures = SharedPictures(pictures_of(spec.cameras, spec.image_size, depth=spec.depth), self.rows)
        self._workers = [
            _Worker(pictures, (spec, rows_per_worker, task_id, process_variables(workers, worker)), stall_s)
            for worker in range(workers)
        ]
        self._selector = selectors.DefaultSelector()
        for worker in self._workers:
            self._selector.register(worker.connection, selectors.EVENT_READ, worker)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers."""
        return tuple(worker.process.pid or 0 for worker in self._workers)

    def start(self) -> EnvironmentFacts:
        """Wait until every worker has tried out an environment; return what a policy must know of it."""
        try:
            facts = [self._started(worker) for worker in self._workers]
        except BaseException:
            self.close()
            raise
        return facts[0]

    def send(self, command: Command) -> None:
        """Give a command to the worker of its row; it answers with one event."""
        self._workers[command.row // self._rows_per_worker].send(command)

    def events(self) -> list[Event]:
        """Wait for events and return all that are there; a worker that died yields `Lost` for each of its rows."""
        events: list[Event] = []
        timeout_s = min(worker.patience_s() for worker in self._workers)
        while ready := self._selector.select(timeout_s):
            for key, _ in ready:
                events += key.data.received()
                if key.data.gone:
                    self._selector.unregister(key.fileobj)
            timeout_s = 0.0  # whatever else is there already
        for index, worker in enumerate(self._workers):
            if reason := worker.death():
                events += self._replace(index, worker, reason)
        return events

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.close()
        for worker in self._workers:
            worker.join()
        self._selector.close()

    def _started(self, worker: "_Worker") -> EnvironmentFacts:
        while worker.facts is None:
            if wait([worker.connection], timeout=worker.patience_s()):
                worker.received()
            if worker.facts is None and worker.death():
                self._restart(worker)
        return worker.facts

    def _replace(self, index: int, worker: "_Worker", reason: str) -> list[Event]:
        self.replaced += 1
        guilty = worker.busy_with()
        self._restart(worker)
        first = index * self._rows_per_worker
        return [Lost(row, reason, at_fault=row == guilty) for row in range(first, first + self._rows_per_worker)]

    def _restart(self, worker: "_Worker") -> None:
        if worker.connection in self._selector.get_map():
            self._selector.unregister(worker.connection)
        worker.restart()
        self._selector.register(worker.connection, selectors.EVENT_READ, worker)


_Arguments = tuple[EnvironmentSpec, int, str, dict[str, str]]


class _Worker:
    """One process and the commands that it has not answered yet."""

    def __init__(self, pictures: SharedPictures, arguments: _Arguments, stall_s: float) -> None:
        self._shared = SharedWithWorker(pictures, multiprocessing.get_context("spawn").RawValue(ctypes.c_int, _NO_ROW))
        self._arguments, self._stall_s = arguments, stall_s
        self._failed_starts = 0
        self._spawn()

    process: BaseProcess
    connection: Connection

    def send(self, command: Command) -> None:
        """Queue a command."""
        if not self._unanswered and self.facts is not None:
            self._since = time.monotonic()
        self._unanswered.append(command.row)
        with suppress(BrokenPipeError, ConnectionResetError):  # its end is noticed where answers are read
            send_quickly(self.connection, command)

    def received(self) -> list[Event]:
        """Return the answers of one message; there must be something to read."""
        try:
            message = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.gone = True
            return []
        self._since = time.monotonic()
        if isinstance(message, Started | StartFailed):
            self._note_start(message)
            return []
        return [self._answered(event) for event in message]

    def patience_s(self) -> float:
        """Return how long the worker may still be silent."""
        if self.facts is None:
            return max(0.0, self._since + _START_S - time.monotonic())
        return max(0.0, self._since + self._stall_s - time.monotonic()) if self._unanswered else self._stall_s

    def death(self) -> str:
        """Return why the worker is of no more use, or nothing; a worker that hangs is killed."""
        if self.gone:
            self.process.join(_JOIN_S)
            return f"The worker process ended with exit code {self.process.exitcode}."
        if self.patience_s() == 0.0:
            self.process.kill()
            silent_s = time.monotonic() - self._since
            return f"The worker process hung: no answer for {silent_s:.0f} s."
        return ""

    def busy_with(self) -> int | None:
        """Return the row whose command the worker was carrying out."""
        if self.facts is None or not self._unanswered:
            return None
        row = int(self._shared.busy_with.value)
        return row if row in self._unanswered else self._unanswered[0]

    def restart(self) -> None:
        """Replace the process by a new one; raise `WorkerStartError` when it does not get as far as to start."""
        self._failed_starts = self._failed_starts + 1 if self.facts is None else 0
        if self._failed_starts >= _START_ATTEMPTS:
            raise WorkerStartError(
                f"The worker process died {self._failed_starts} times while it started; its output above says why. "
                "A script that runs an evaluation must be a file and do so under `if __name__ == '__main__':`."
            )
        self.close()
        self.join()
        self._spawn()

    def close(self) -> None:
        """Ask the process to end."""
        self.connection.close()

    def join(self) -> None:
        """Wait for the process to end, and end it if it does not."""
        self.process.join(_JOIN_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _spawn(self) -> None:
        self._shared.busy_with.value = _NO_ROW
        context = multiprocessing.get_context("spawn")  # a fork would share OpenGL and torch threads
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, self._shared, *self._arguments), daemon=True)
        self.process.start()
        theirs.close()  # or the end of the process would not close the pipe
        self._unanswered: deque[int] = deque()
        self.facts: EnvironmentFacts | None = None
        self.gone = False
        self._since = time.monotonic()

    def _answered(self, event: Event) -> Event:
        self._unanswered.popleft()  # commands are answered in order
        if isinstance(event, Ready):
            return Ready(event.row, self._shared.pictures.take(event.row, event.observation))
        return event

    def _note_start(self, message: Started | StartFailed) -> None:
        if isinstance(message, StartFailed):
            raise WorkerStartError(message.message)
        self.facts = message.facts
