"""What processes that simulate have in common: their share of the machine, and quick messages."""

import os
import pickle
from multiprocessing.connection import Connection


def process_variables(workers: int) -> dict[str, str]:
    """Return environment variables for the workers: they share the machine's cores and render without a display.

    What the user has set stays as it is. Mesa's software OpenGL (LP) with 0 threads draws in the worker's own thread,
    which is fastest where every core has a worker: on two cores, one worker made 116, 113 and 145 control steps a
    second with 0, 1 and 2 threads, two workers 210, 193 and 201.
    """
    cores = len(os.sched_getaffinity(0))
    threads = str(max(1, cores // workers))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    drawing = "0" if workers >= cores else threads
    defaults = {**dict.fromkeys(names, threads), "LP_NUM_THREADS": drawing, "MUJOCO_GL": "egl"}
    return {name: os.environ.get(name, default) for name, default in defaults.items()}


def send_quickly(connection: Connection, message: object) -> None:
    """Do as `connection.send` without a pickler of its own for every message; `recv` understands it."""
    connection.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
