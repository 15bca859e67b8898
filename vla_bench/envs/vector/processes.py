"""What processes that simulate have in common: their share of the machine, and quick messages."""

import os
import pickle
from multiprocessing.connection import Connection

from vla_bench.core.machine import usable_cores
from vla_bench.envs.opengl import opengl_variables


def process_variables(workers: int, worker: int = 0) -> dict[str, str]:
    """Return environment variables for worker number `worker` of `workers`, which share the machine's cores and GPUs.

    What the user has set stays as it is. Threads of software OpenGL, by measurement: on two cores, one worker made 116,
    113 and 145 control steps a second with 0, 1 and 2 threads, two workers 210, 193 and 201.
    """
    threads = str(max(1, usable_cores() // workers))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    defaults = {**dict.fromkeys(names, threads), **opengl_variables(workers, worker)}
    return {name: os.environ.get(name, default) for name, default in defaults.items()}


def send_quickly(connection: Connection, message: object) -> None:
    """Do as `connection.send` without a pickler of its own for every message; `recv` understands it."""
    connection.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
