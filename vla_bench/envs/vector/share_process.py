"""A worker process as the main process sees it: asked one thing at a time, it answers."""

import multiprocessing
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

from vla_bench.core.errors import VlaBenchError
from vla_bench.envs.vector.processes import send_quickly
from vla_bench.envs.vector.share import Failed, ShareFacts, ShareSpec, serve_share
from vla_bench.envs.vector.shared import SharedPictures

_JOIN_S = 5.0


class EnvironmentProcessError(VlaBenchError):
    """A process of a vector environment that broke, with all environments in it."""


class ShareProcess:
    """One process and its environments."""

    def __init__(self, spec: ShareSpec, pictures: SharedPictures, variables: Mapping[str, str]) -> None:
        self.spec = spec
        self.places = slice(spec.first, spec.first + len(spec.task_ids))  # in the vector environment
        context = multiprocessing.get_context("spawn")  # a fork would share OpenGL and torch threads
        self._connection, theirs = context.Pipe()
        self.process = context.Process(target=serve_share, args=(theirs, spec, pictures, variables), daemon=True)
        self.process.start()
        theirs.close()  # or the end of the process would not close the pipe

    def facts(self) -> ShareFacts:
        """Return the first answer: what the environments are like."""
        return cast(ShareFacts, self.answer())

    def ask(self, name: str, *arguments: Any, **keywords: Any) -> None:
        """Have a method of the worker's `Share` called."""
        with suppress(BrokenPipeError, ConnectionResetError):  # `answer` tells
            send_quickly(self._connection, (name, arguments, keywords))

    def answer(self) -> Any:
        """Wait for the answer; raise what went wrong in its place."""
        try:
            answer = self._connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join(_JOIN_S)
            first, last = self.places.start, self.places.stop - 1
            raise EnvironmentProcessError(
                f"The process of environments {first} to {last} ended with exit code {self.process.exitcode}. A script "
                "that makes a vector environment must be a file and do so under `if __name__ == '__main__':`."
            ) from None
        if isinstance(answer, Failed):
            raise EnvironmentProcessError(answer.error) if isinstance(answer.error, str) else answer.error
        return answer

    def close(self) -> None:
        """Ask the process to end."""
        self._connection.close()

    def join(self) -> None:
        """Wait for the process to end, and end it if it does not."""
        self.process.join(_JOIN_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
