"""Worker processes, each with some rows of the batch. A worker that dies or hangs is replaced."""

import multiprocessing
import time
from collections import deque
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from vla_bench.core.errors import VlaBenchError
from vla_bench.evaluation.episodes import Command, Event, Lost
from vla_bench.evaluation.rows import EnvironmentFacts, EnvironmentSpec
from vla_bench.evaluation.worker import Started, StartFailed, process_variables, serve

_STALL_S = 600.0  # a worker that is silent for so long over one command hangs
_START_S = 600.0  # the same while it starts: the first environment may have to be compiled
_START_ATTEMPTS = 3
_JOIN_S = 5.0


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
        variables = process_variables(workers)
        self._workers = [_Worker((spec, rows_per_worker, task_id, variables), stall_s) for _ in range(workers)]

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers."""
        return tuple(worker.process.pid or 0 for worker in self._workers)

    def start(self) -> EnvironmentFacts:
        """Wait until every worker has tried out an environment; return what a policy must know of it."""
        try:
            facts = [worker.wait_started() for worker in self._workers]
        except BaseException:
            self.close()
            raise
        return facts[0]

    def send(self, command: Command) -> None:
        """Give a command to the worker of its row; it answers with one event."""
        self._workers[command.row // self._rows_per_worker].send(command)

    def events(self) -> list[Event]:
        """Wait for events and return all that are there; a worker that died yields `Lost` for each of its rows."""
        connections = [worker.connection for worker in self._workers]
        wait(connections, timeout=min(worker.patience_s() for worker in self._workers))
        events: list[Event] = []
        for index, worker in enumerate(self._workers):
            events += worker.received()
            if reason := worker.death():
                events += self._replace(index, worker, reason)
        return events

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.close()
        for worker in self._workers:
            worker.join()

    def _replace(self, index: int, worker: "_Worker", reason: str) -> list[Event]:
        self.replaced += 1
        guilty = worker.busy_with()
        worker.restart()
        first = index * self._rows_per_worker
        return [Lost(row, reason, at_fault=row == guilty) for row in range(first, first + self._rows_per_worker)]


_Arguments = tuple[EnvironmentSpec, int, str, dict[str, str]]


class _Worker:
    """One process and the commands that it has not answered yet."""

    def __init__(self, arguments: _Arguments, stall_s: float) -> None:
        self._arguments, self._stall_s = arguments, stall_s
        self._failed_starts = 0
        self._spawn()

    process: BaseProcess
    connection: Connection

    def send(self, command: Command) -> None:
        """Queue a command."""
        if not self._unanswered and self._facts is not None:
            self._since = time.monotonic()
        self._unanswered.append(command.row)
        try:
            self.connection.send(command)
        except (BrokenPipeError, ConnectionResetError):
            self._gone = True  # `death` tells why

    def received(self) -> list[Event]:
        """Return the answers that are there, without waiting."""
        events: list[Event] = []
        try:
            while self.connection.poll():
                message = self.connection.recv()
                self._since = time.monotonic()
                if isinstance(message, Started | StartFailed):
                    self._note_start(message)
                else:
                    self._unanswered.popleft()
                    events.append(message)
        except (EOFError, ConnectionResetError):
            self._gone = True
        return events

    def wait_started(self) -> EnvironmentFacts:
        """Wait for the first message; raise `WorkerStartError` if the environments do not work."""
        while self._facts is None:
            wait([self.connection], timeout=self.patience_s())
            self.received()
            if self._facts is None and self.death():
                self.restart()
        return self._facts

    def patience_s(self) -> float:
        """Return how long the worker may still be silent."""
        if self._facts is None:
            return max(0.0, self._since + _START_S - time.monotonic())
        return max(0.0, self._since + self._stall_s - time.monotonic()) if self._unanswered else self._stall_s

    def death(self) -> str:
        """Return why the worker is of no more use, or nothing; a worker that hangs is killed."""
        if self._gone:
            self.process.join(_JOIN_S)
            return f"The worker process ended with exit code {self.process.exitcode}."
        if self.patience_s() == 0.0:
            self.process.kill()
            silent_s = time.monotonic() - self._since
            return f"The worker process hung: no answer for {silent_s:.0f} s."
        return ""

    def busy_with(self) -> int | None:
        """Return the row whose command the worker was carrying out."""
        return self._unanswered[0] if self._unanswered and self._facts is not None else None

    def restart(self) -> None:
        """Replace the process by a new one; raise `WorkerStartError` when it does not get as far as to start."""
        self._failed_starts = self._failed_starts + 1 if self._facts is None else 0
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
        context = multiprocessing.get_context("spawn")  # a fork would share OpenGL and torch threads
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, *self._arguments), daemon=True)
        self.process.start()
        theirs.close()  # or the end of the process would not close the pipe
        self._unanswered: deque[int] = deque()
        self._facts: EnvironmentFacts | None = None
        self._gone = False
        self._since = time.monotonic()

    def _note_start(self, message: Started | StartFailed) -> None:
        if isinstance(message, StartFailed):
            raise WorkerStartError(message.message)
        self._facts = message.facts
