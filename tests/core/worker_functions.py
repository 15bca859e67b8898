"""Functions that worker processes of these tests run. Worker processes import this module."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.worker_process import WorkerProcess

VARIABLE_AT_IMPORT = os.environ.get("VLA_BENCH_TEST_VARIABLE", "")


def send_variable_at_import(connection: Connection) -> None:
    connection.send(VARIABLE_AT_IMPORT)


def echo(connection: Connection) -> None:
    while True:
        connection.send(connection.recv())


def exit_with_7(connection: Connection) -> None:
    os._exit(7)


def never_end(connection: Connection) -> None:
    connection.send("started")
    time.sleep(1000)


def start_a_worker_and_die() -> None:
    worker = WorkerProcess(never_end, (), {})
    worker.receive()
    os._exit(0)


@dataclass(frozen=True)
class Squares:
    """Squares numbers; some jobs fail, and job 5 kills its worker until the file `died` exists."""

    died: Path

    def __call__(self) -> Callable[[int], int]:
        return self.run

    def run(self, number: int) -> int:
        if number == 5 and not self.died.exists():
            self.died.touch()
            os._exit(3)
        if number == 13:
            os._exit(3)
        if number == 21:
            raise VlaBenchError("Job 21 is impossible.")
        if number == 22:
            raise ZeroDivisionError("in job 22")
        return number * number


def no_work() -> Callable[[int], int]:
    raise VlaBenchError("There is no work.")
