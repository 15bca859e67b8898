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

_MAX_DELAY_S = 0.05  # for which an event waits for the next one
_STALL_TIMEOUT_S = 600.0  # a worker without an answer for this time hangs
_START_TIMEOUT_S = 600.0  # the same during the start, when the first environment may have to be compiled
_START_ATTEMPTS = 3
_NO_SLOT = -1


@dataclass(frozen=True)
class Started:
    """First message of a worker whose environments work."""

    facts: EnvironmentFacts


@dataclass(frozen=True)
class StartFailed:
    """First message of a worker whose environments do not work, with the reason."""

    message: str


@dataclass(frozen=True)
class SharedWorkerMemory:
    """Shared memory that the worker writes and the main process reads."""

    images: SharedImages
    busy_with: Any  # its `value` is the slot whose command the worker executes, or executed last


def serve_commands(
    connection: Connection,
    shared: SharedWorkerMemory,
    spec: EnvironmentSpec,
    slots: int,
    task_id: str,
) -> None:
    """Test an environment of `task_id`, then execute commands until the pipe is closed."""
    environments, answers = EnvironmentSlots(spec, slots), _EventSender(connection, most_held=slots // 2)
    try:
        try:
            connection.send(Started(environments.try_out(task_id)))
        except VlaBenchError as error:
            connection.send(StartFailed(str(error)))
            return
        except Exception:
            connection.send(StartFailed(traceback.format_exc()))
            return
        while True:
            command = connection.recv()
            shared.busy_with.value = command.slot
            event = environments.handle(command)
            if isinstance(event, Ready):
                event = Ready(event.slot, shared.images.put(event.slot, event.observation))
            answers.add(event)
    finally:
        environments.close()


class _EventSender:
    """Sends events to the main process in groups, because waking it up costs as much as sending a message.

    Events wait only while other commands are pending, and at most half of the slots wait, because the policy starts
    as soon as half of the slots are ready.
    """

    def __init__(self, connection: Connection, most_held: int) -> None:
        self._connection, self._most_held = connection, most_held
        self._held: list[Event] = []
        self._send_by_s = 0.0
        self._commands = select.poll()
        self._commands.register(connection.fileno(), select.POLLIN)

    def add(self, event: Event) -> None:
        """Send the event, now or together with the next ones."""
        if not self._held:
            self._send_by_s = time.monotonic() + _MAX_DELAY_S
        self._held.append(event)
        waits = len(self._held) < self._most_held and time.monotonic() < self._send_by_s and self._commands.poll(0)
        if not waits:
            send_message(self._connection, self._held)
            self._held = []


class WorkerStartError(VlaBenchError):
    """The environments of a run do not work on this machine."""


class EmptyPool:
    """The pool of a run without missing episodes."""

    slots = 0
    replaced = 0

    def send(self, command: Command) -> None:
        """Raise `IndexError`, because there is no slot."""
        raise IndexError(f"Slot {command.slot} does not exist: the pool is empty.")

    def events(self) -> list[Event]:
        """Return no event, because no episode runs."""
        return []


class WorkerPool:
    """`workers` processes with `slots_per_worker` slots each; slot s belongs to worker s // slots_per_worker."""

    def __init__(
        self,
        spec: EnvironmentSpec,
        task_id: str,
        *,
        workers: int,
        slots_per_worker: int,
        stall_s: float = _STALL_TIMEOUT_S,
    ) -> None:
        self.slots = workers * slots_per_worker
        self.replaced = 0  # workers that died or hung so far
        self._slots_per_worker = slots_per_worker
        images = SharedImages(image_arrays(spec.cameras, spec.image_size, depth=spec.depth), self.slots)
        self._workers = [
            _Worker(images, (spec, slots_per_worker, task_id), process_variables(workers, worker), stall_s)
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
        """Wait until every worker has tested an environment; return the properties that policies need."""
        try:
            facts = [self._started(worker) for worker in self._workers]
        except BaseException:
            self.close()
            raise
        return facts[0]

    def send(self, command: Command) -> None:
        """Send a command to the worker of its slot, which answers with one event."""
        self._workers[command.slot // self._slots_per_worker].send(command)

    def events(self) -> list[Event]:
        """Wait for events and return all that have arrived; a worker that died yields `Lost` for each of its slots."""
        events: list[Event] = []
        timeout_s = min(worker.remaining_s() for worker in self._workers)
        while ready := self._selector.select(timeout_s):
            for key, _ in ready:
                events += key.data.received()
                if key.data.gone:
                    self._selector.unregister(key.fileobj)
            timeout_s = 0.0  # then only what has arrived already
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
            if wait([worker.connection], timeout=worker.remaining_s()):
                worker.received()
            if worker.facts is None and worker.death():
                self._restart(worker)
        return worker.facts

    def _replace(self, index: int, worker: "_Worker", reason: str) -> list[Event]:
        self.replaced += 1
        culprit = worker.busy_with()
        self._restart(worker)
        first = index * self._slots_per_worker
        return [Lost(slot, reason, at_fault=slot == culprit) for slot in range(first, first + self._slots_per_worker)]

    def _restart(self, worker: "_Worker") -> None:
        if worker.connection in self._selector.get_map():
            self._selector.unregister(worker.connection)
        worker.restart()
        self._selector.register(worker.connection, selectors.EVENT_READ, worker)


_WorkerArguments = tuple[EnvironmentSpec, int, str]


class _Worker:
    """One worker process and its unanswered commands."""

    process: WorkerProcess

    def __init__(
        self, images: SharedImages, arguments: _WorkerArguments, variables: dict[str, str], stall_s: float
    ) -> None:
        self._shared = SharedWorkerMemory(images, multiprocessing.get_context("spawn").RawValue(ctypes.c_int, _NO_SLOT))
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
        self._unanswered.append(command.slot)
        self.process.send(command)

    def received(self) -> list[Event]:
        """Read one message and return its events; the connection must be readable."""
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

    def remaining_s(self) -> float:
        """Return the remaining time until the worker counts as hanging [s]."""
        if self.facts is None:
            return max(0.0, self._since + _START_TIMEOUT_S - time.monotonic())
        return max(0.0, self._since + self._stall_s - time.monotonic()) if self._unanswered else self._stall_s

    def death(self) -> str:
        """Return why the worker must be replaced, or ""; kill a worker that hangs."""
        if self.gone:
            return self.gone
        if self.remaining_s() == 0.0:
            silent_s = time.monotonic() - self._since
            self.process.kill()
            return f"The worker process hung: no answer for {silent_s:.0f} s."
        return ""

    def busy_with(self) -> int | None:
        """Return the slot whose command the worker was executing."""
        if self.facts is None or not self._unanswered:
            return None
        slot = int(self._shared.busy_with.value)
        return slot if slot in self._unanswered else self._unanswered[0]

    def restart(self) -> None:
        """Replace the process by a new one; raise `WorkerStartError` after repeated failures to start."""
        self._failed_starts = self._failed_starts + 1 if self.facts is None else 0
        if self._failed_starts >= _START_ATTEMPTS:
            raise WorkerStartError(
                f"The worker process died {self._failed_starts} times while it started; its output above states "
                "the reason. "
                "A script that runs an evaluation must be a file and start it under `if __name__ == '__main__':`."
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
            return Ready(event.slot, self._shared.images.take(event.slot, event.observation))
        return event

    def _note_start(self, message: Started | StartFailed) -> None:
        if isinstance(message, StartFailed):
            raise WorkerStartError(message.message)
        self.facts = message.facts
