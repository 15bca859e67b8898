"""Environment variables of a process that simulates or renders: threads, GPU and OpenGL backend.

Libraries read these variables once, when they are loaded. A value that the user has set is never replaced.
"""

import ctypes
import os
import sys
import warnings
from ctypes.util import find_library

from vla_bench.core.egl_devices import egl_devices, egl_gpus
from vla_bench.core.machine import usable_cores

BACKEND_VARIABLE = "MUJOCO_GL"
_DEVICE_VARIABLE = "MUJOCO_EGL_DEVICE_ID"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_MAX_OPENGL_THREADS = 8  # software OpenGL works on tiles, and an image of 224 pixels has 16 of them


def process_variables(workers: int, worker: int = 0) -> dict[str, str]:
    """Return environment variables for worker number `worker` of `workers`, which share the machine's cores and GPUs.

    The OpenGL backend is not among them: every process selects one that works when it loads MuJoCo (`opengl_backend`).
    """
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, usable_cores() // workers)))
    defaults = {**dict.fromkeys(_THREAD_VARIABLES, threads), **opengl_variables(workers, worker)}
    return {name: os.environ.get(name, default) for name, default in defaults.items()}


def opengl_variables(workers: int = 1, worker: int = 0) -> dict[str, str]:
    """Return defaults for the OpenGL of worker number `worker` of `workers`: threads, and a GPU if there are several.

    With 0 threads, Mesa's software OpenGL (`LP_NUM_THREADS`) renders in the worker's own thread. That is fastest if
    every core has a worker: on two cores, one worker made 116, 113 and 145 control steps a second with 0, 1 and 2
    threads, two workers 210, 193 and 201. Workers take the GPUs in turn, limited to those in CUDA_VISIBLE_DEVICES.
    """
    cores = usable_cores()
    threads = 0 if workers >= cores else min(cores // workers, _MAX_OPENGL_THREADS)
    variables = {"LP_NUM_THREADS": str(threads)}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = egl_gpus(visible) if workers > 1 or visible else ()  # a single process takes the first one that works
    if gpus and (len(gpus) > 1 or gpus[0].number > 0):
        variables[_DEVICE_VARIABLE] = str(gpus[worker % len(gpus)].number)
    return variables


def opengl_backend(*, start_driver: bool = True) -> str:
    """Return the value of MUJOCO_GL for this process.

    It is what the user has set, otherwise "egl", or "osmesa" with a warning if no EGL device starts and OSMesa is
    installed. It is empty outside Linux, where MuJoCo's own choice works without a display. Without `start_driver`,
    EGL counts as working if it lists a device: a driver takes 50 MB.
    """
    chosen = os.environ.get(BACKEND_VARIABLE, "")  # an empty value is no choice
    if chosen or sys.platform != "linux":
        return chosen
    if _egl_works(start_driver) or not has_osmesa():
        return "egl"  # if neither works, the error message of loading EGL says what to install
    warnings.warn("EGL does not work on this machine. OSMesa renders on the CPU instead.", stacklevel=3)
    return "osmesa"


def has_osmesa() -> bool:
    """Return whether OSMesa, Mesa's OpenGL that needs no driver and no display, is installed."""
    for name in (find_library("OSMesa"), "libOSMesa.so.8", "libOSMesa.so.6"):
        try:
            if name is not None:
                ctypes.CDLL(name)
                return True
        except OSError:
            continue
    return False


def _egl_works(start_driver: bool) -> bool:
    chosen = os.environ.get(_DEVICE_VARIABLE)
    devices = [device for device in egl_devices() if chosen in (None, str(device.number))]
    return any(device.starts() for device in devices) if start_driver else bool(devices)
