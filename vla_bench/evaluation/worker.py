"""The worker process: carries out the commands that come through its pipe, one after the other."""

import os
import signal
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection

from vla_bench.core.errors import VlaBenchError
from vla_bench.envs.vector.processes import send_quickly
from vla_bench.envs.vector.shared import SharedPictures
from vla_bench.evaluation.episodes import Ready
from vla_bench.evaluation.rows import EnvironmentFacts, EnvironmentSpec, Rows


@dataclass(frozen=True)
class Started:
    """The worker's first message: its environments work."""

    facts: EnvironmentFacts


@dataclass(frozen=True)
class StartFailed:
    """The worker's first message: its environments do not work, and why."""

    message: str


def serve(
    connection: Connection,
    pictures: SharedPictures,
    spec: EnvironmentSpec,
    rows: int,
    task_id: str,
    variables: Mapping[str, str],
) -> None:
    """Try out `task_id`, then serve commands until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle: it closes the pipe
    os.environ.update(variables)  # before anything loads OpenGL or a maths library
    simulated = Rows(spec, rows)
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
            event = simulated.handle(connection.recv())
            if isinstance(event, Ready):
                event = Ready(event.row, pictures.put(event.row, event.observation))
            send_quickly(connection, event)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the main process closed the pipe or is gone
    finally:
        simulated.close()
