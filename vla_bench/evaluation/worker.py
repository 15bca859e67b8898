"""The worker process: carries out the commands that come through its pipe, one after the other."""

import os
import select
import signal
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from vla_bench.core.errors import VlaBenchError
from vla_bench.envs.vector.processes import send_quickly
from vla_bench.envs.vector.shared import SharedPictures
from vla_bench.evaluation.episodes import Event, Ready
from vla_bench.evaluation.rows import EnvironmentFacts, EnvironmentSpec, Rows

_LONGEST_WAIT_S = 0.05  # of an event for the next one, before that one begins


@dataclass(frozen=True)
class Started:
    """The worker's first message: its environments work."""

    facts: EnvironmentFacts


@dataclass(frozen=True)
class StartFailed:
    """The worker's first message: its environments do not work, and why."""

    message: str


@dataclass(frozen=True)
class SharedWithWorker:
    """Memory that the worker writes and the main process reads."""

    pictures: SharedPictures
    busy_with: Any  # its `value` is the row that the worker is, or was last, busy with


def serve(
    connection: Connection,
    shared: SharedWithWorker,
    spec: EnvironmentSpec,
    rows: int,
    task_id: str,
    variables: Mapping[str, str],
) -> None:
    """Try out `task_id`, then serve commands until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle: it closes the pipe
    os.environ.update(variables)  # before anything loads OpenGL or a maths library
    simulated, answers = Rows(spec, rows), _Answers(connection, most_held=rows // 2)
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
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the main process closed the pipe or is gone
    finally:
        simulated.close()


class _Answers:
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
            self._send_by_s = time.monotonic() + _LONGEST_WAIT_S
        self._held.append(event)
        waits = len(self._held) < self._most_held and time.monotonic() < self._send_by_s and self._commands.poll(0)
        if not waits:
            send_quickly(self._connection, self._held)
            self._held = []
