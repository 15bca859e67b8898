"""A worker process: variables, messages, and the ways in which it ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.core import worker_functions
from vla_bench.core.worker_process import WorkerDiedError, WorkerProcess


def test_variables_are_set_before_modules_are_imported() -> None:
    worker = WorkerProcess(worker_functions.send_variable_at_import, (), {"VLA_BENCH_TEST_VARIABLE": "set"})
    assert worker.receive() == "set"
    worker.join()


def test_messages_arrive_and_closing_the_pipe_ends_the_process() -> None:
    worker = WorkerProcess(worker_functions.echo, (), {})
    worker.send({"number": 1})
    assert worker.receive() == {"number": 1}
    assert worker.is_alive()
    worker.close()
    worker.join()
    assert worker.exit_code == 0


def test_a_death_is_reported_with_the_exit_code() -> None:
    worker = WorkerProcess(worker_functions.exit_with_7, (), {})
    with pytest.raises(WorkerDiedError, match="ended with exit code 7") as death:
        worker.receive()
    assert death.value.exit_code == 7
    worker.send("a message to a dead process is no error")


def test_a_worker_ends_with_its_parent() -> None:
    program = "from tests.core.worker_functions import start_a_worker_and_die; start_a_worker_and_die()"
    root = Path(__file__).parents[2]
    # The worker inherits the standard output, so `run` waits for it too.
    subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, timeout=60, check=True)
