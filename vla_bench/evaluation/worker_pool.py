"""A pool of environment worker processes, and the process itself. A worker that dies or hangs is replaced."""

import ctypes
import multiprocessing
import select
import selectors
import time
import traceback
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.process_environment import process_variables
from vla_bench.core.worker_process import WorkerDiedError, WorkerProcess, send_message
from vla_bench.envs.vector.shared_images import SharedImages, image_arrays
from vla_bench.evaluation.environment_slots import EnvironmentFacts, EnvironmentSlots, EnvironmentSpec
from vla_bench.evaluation.messages import Command, Event, Lost, Ready

# ~ The worker process: carries out the commands that come through its pipe, one after the other.

_MAX_DELAY_S = 0.05  # of an event for the next one, before that one begins


@dataclass(frozen=True)
class Started:
    """The worker's first message: its environments work."""

    facts: EnvironmentFacts


@dataclass(frozen=True)
class StartFailed:
    """The worker's first message: its environments do not work, and why."""

    message: str


@dataclass(frozen=True)
class SharedWorkerMemory:
    """Memory that the worker writes and the main process reads."""

    pictures: SharedImages
    busy_with: Any  # its `value` is the row that the worker is, or was last, busy with


def serve_commands(
    connection: Connection,
    shared: SharedWorkerMemory,
    spec: EnvironmentSpec,
    rows: int,
    task_id: str,
) -> None:
    """Try out `task_id`, then serve commands until the pipe is closed."""
    simulated, answers = EnvironmentSlots(spec, rows), _EventSender(connection, most_held=rows // 2)
    try:
        try:
            connection.send(Started(simulated.try_out(task_id)))
        except VlaBenchError as error:
            connection.send(StartFailed(str(error)))
            return
        except Exception:
            connection.send(StartFailed(traceback.format_exc()))
            return
        while True:
            command = connection.recv()
            shared.busy_with.value = command.row
            event = simulated.handle(command)
            if isinstance(event, Ready):
                event = Ready(event.row, shared.pictures.put(event.row, event.observation))
            answers.add(event)
    finally:
        simulated.close()


class _EventSender:
    """Events on their way to the main process, several at a time: each time it wakes up costs as much as a message.

    They wait only while there is something else to do, for half of the rows at most: the policy waits for as many.
    """

    def __init__(self, connection: Connection, most_held: int) -> None:
        self._connection, self._most_held = connection, most_held
        self._held: list[Event] = []
        self._send_by_s = 0.0
        self._commands = select.poll()
        self._commands.register(connection.fileno(), select.POLLIN)

    def add(self, event: Event) -> None:
        """Send the event, now or with the next ones."""
        if not self._held:
            self._send_by_s = time.monotonic() + _MAX_DELAY_S
        self._held.append(event)
        waits = len(self._held) < self._most_held and time.monotonic() < self._send_by_s and self._commands.poll(0)
        if not waits:
            send_message(self._connection, self._held)
            self._held = []


# ~ Worker processes, each with some rows of the batch. A worker that dies or hangs is replaced.

_STALL_TIMEOUT_S = 600.0  # a worker that is silent for so long over one command hangs
_START_TIMEOUT_S = 600.0  # the same while it starts: the first environment may have to be compiled
_START_ATTEMPTS = 3
_NO_SLOT = -1


class WorkerStartError(VlaBenchError):
    """The environments of a run do not work on this machine."""


class EmptyPool:
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
        stall_s: float = _STALL_TIMEOUT_S,
    ) -> None:
        self.rows = workers * rows_per_worker
        self.replaced = 0  # workers that died or hung so far
        self._rows_per_worker = rows_per_worker
        pictures = SharedImages(image_arrays(spec.cameras, spec.image_size, depth=spec.depth), self.rows)
        self._workers = [
            _Worker(pictures, (spec, rows_per_worker, task_id), process_variables(workers, worker), stall_s)
            for worker in range(workers)
        ]
        self._selector = selectors.DefaultSelector()
        for worker in self._workers:
            self._selector.register(worker.connection, selectors.EVENT_READ, worker)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers."""
        return tuple(worker.process.pid for worker in self._workers)

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
            worker.process.close()
        for worker in self._workers:
            worker.process.join()
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


_WorkerArguments = tuple[EnvironmentSpec, int, str]


class _Worker:
    """One process and the commands that it has not answered yet."""

    process: WorkerProcess

    def __init__(
        self, pictures: SharedImages, arguments: _WorkerArguments, variables: dict[str, str], stall_s: float
    ) -> None:
        self._shared = SharedWorkerMemory(
            pictures, multiprocessing.get_context("spawn").RawValue(ctypes.c_int, _NO_SLOT)
        )
        self._arguments, self._variables, self._stall_s = arguments, variables, stall_s
        self._failed_starts = 0
        self._spawn()

    @property
    def connection(self) -> Connection:
        """The pipe to the process."""
        return self.process.connection

    def send(self, command: Command) -> None:
        """Queue a command."""
        if not self._unanswered and self.facts is not None:
            self._since = time.monotonic()
        self._unanswered.append(command.row)
        self.process.send(command)

    def received(self) -> list[Event]:
        """Return the answers of one message; there must be something to read."""
        try:
            message = self.process.receive()
        except WorkerDiedError as death:
            self.gone = str(death)
            return []
        self._since = time.monotonic()
        if isinstance(message, Started | StartFailed):
            self._note_start(message)
            return []
        return [self._answered(event) for event in message]

    def patience_s(self) -> float:
        """Return how long the worker may still be silent."""
        if self.facts is None:
            return max(0.0, self._since + _START_TIMEOUT_S - time.monotonic())
        return max(0.0, self._since + self._stall_s - time.monotonic()) if self._unanswered else self._stall_s

    def death(self) -> str:
        """Return why the worker is of no more use, or nothing; a worker that hangs is killed."""
        if self.gone:
            return self.gone
        if self.patience_s() == 0.0:
            silent_s = time.monotonic() - self._since
            self.process.kill()
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
        self.process.close()
        self.process.join()
        self._spawn()

    def _spawn(self) -> None:
        self._shared.busy_with.value = _NO_SLOT
        self.process = WorkerProcess(serve_commands, (self._shared, *self._arguments), self._variables)
        self._unanswered: deque[int] = deque()
        self.facts: EnvironmentFacts | None = None
        self.gone = ""  # why the process has ended
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
