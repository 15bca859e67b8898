"""A worker process that is connected to its parent by a pipe."""

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

_EXIT_TIMEOUT_S = 5.0


class WorkerDiedError(Exception):
    """The worker process ended instead of sending a message."""

    def __init__(self, exit_code: int | None) -> None:
        super().__init__(f"The worker process ended with exit code {exit_code}.")
        self.exit_code = exit_code


class WorkerProcess:
    """A process that runs `serve(connection, *arguments)`.

    It is spawned, because a forked process would inherit threads of OpenGL, numba and torch that do not work there.
    `variables` are in its environment before `serve` and the arguments are unpickled, so before their libraries are
    loaded. It ignores Ctrl-C, which reaches the whole process group and is handled by the parent. It ends when its
    parent ends, and `serve` ends when the pipe is closed, unless it handles `EOFError` itself.
    """

    def __init__(self, serve: Callable[..., None], arguments: tuple[Any, ...], variables: Mapping[str, str]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, child_connection = context.Pipe()
        self._process = context.Process(
            target=_run, args=(child_connection, dict(variables), _PickledCall((serve, *arguments))), daemon=True
        )
        self._process.start()
        child_connection.close()  # otherwise the end of the process would not close the pipe

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid or 0

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while the process is alive."""
        return self._process.exitcode

    def is_alive(self) -> bool:
        """Return whether the process runs."""
        return self._process.is_alive()

    def send(self, message: object) -> None:
        """Send a message. If the process has died, the next `receive` reports it."""
        with suppress(BrokenPipeError, ConnectionResetError):
            send_message(self.connection, message)

    def receive(self) -> Any:
        """Wait for a message and return it; raise `WorkerDiedError` if the process ended instead."""
        try:
            return self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.join()
            raise WorkerDiedError(self._process.exitcode) from None

    def close(self) -> None:
        """Close the pipe, which asks the process to end."""
        self.connection.close()

    def join(self) -> None:
        """Wait for the process to end; kill it if it does not."""
        self._process.join(_EXIT_TIMEOUT_S)
        if self._process.is_alive():
            self.kill()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.join()


def send_message(connection: Connection, message: object) -> None:
    """Send a message that `connection.recv` understands; `connection.send` would create a pickler for each message."""
    connection.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))


class _PickledCall:
    """A function and its arguments, which the child process unpickles only when `load` is called."""

    def __init__(self, call: tuple[Any, ...]) -> None:
        self._call = call

    def __reduce__(self) -> tuple[Any, ...]:
        # The pickler of multiprocessing, because shared memory can be pickled only while a process is being spawned.
        return _Unloaded, (bytes(ForkingPickler.dumps(self._call)),)


class _Unloaded:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def load(self) -> tuple[Any, ...]:
        call: tuple[Any, ...] = pickle.loads(self._data)
        return call


def _run(connection: Connection, variables: Mapping[str, str], call: _Unloaded) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(variables)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    serve, *arguments = call.load()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent closed the pipe or has ended
        serve(connection, *arguments)


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
