"""Loading MuJoCo, which loads the machine's OpenGL as it is imported, and the settings that OpenGL reads then."""

import ctypes
import os
import sys
import warnings
from ctypes.util import find_library

from vla_bench.core.errors import RenderingError
from vla_bench.core.machine import usable_cores
from vla_bench.envs import egl

_CHOICE = "MUJOCO_GL"
_DEVICE = "MUJOCO_EGL_DEVICE_ID"
_MOST_THREADS = 8  # that software OpenGL finds work for: an image of 224 pixels has 16 tiles


def load_mujoco(*, draws: bool = True) -> None:
    """Import MuJoCo with off-screen OpenGL; raise `RenderingError` where the machine has none.

    `MUJOCO_GL` chooses the kind. Where it says nothing, this is EGL on Linux, or OSMesa where EGL does not work:
    MuJoCo's own choice needs a display. Where nothing is to be drawn (`draws` false), a machine without OpenGL will do.
    """
    for name, value in opengl_variables().items():
        os.environ.setdefault(name, value)
    if sys.platform == "linux" and _CHOICE not in os.environ:
        os.environ[_CHOICE] = _backend() if draws else "egl"
    try:
        import mujoco  # noqa: F401
    except Exception as error:  # whatever the OpenGL stack raises: it differs from backend to backend
        chosen = os.environ.get(_CHOICE, "")
        if draws:
            lacking = "this machine has no libEGL.so.1: " if chosen == "egl" and not egl.is_installed() else ""
            raise RenderingError(f"{lacking}{_CHOICE}={chosen} gives {type(error).__name__}: {error}") from error
        _load_without_opengl(chosen)


def opengl_variables(workers: int = 1, worker: int = 0) -> dict[str, str]:
    """Return environment variables for the OpenGL of worker number `worker` of `workers` on this machine.

    They count only before OpenGL is loaded; what the user has set should stay as it is. Mesa's software OpenGL (LP)
    with 0 threads draws in the worker's own thread, which is fastest where every core has a worker. Where the machine
    has several GPUs, workers take them in turn, or those of them that CUDA_VISIBLE_DEVICES numbers.
    """
    cores = usable_cores()
    threads = 0 if workers >= cores else min(cores // workers, _MOST_THREADS)
    variables = {"LP_NUM_THREADS": str(threads)}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = egl.gpus(visible) if workers > 1 or visible else ()  # one alone takes the first that works
    if gpus and (len(gpus) > 1 or gpus[0].number > 0):
        variables[_DEVICE] = str(gpus[worker % len(gpus)].number)
    return variables


def has_osmesa() -> bool:
    """Whether Mesa's OpenGL without any system beneath it is installed."""
    for name in (find_library("OSMesa"), "libOSMesa.so.8", "libOSMesa.so.6"):
        try:
            if name is not None:
                ctypes.CDLL(name)
                return True
        except OSError:
            continue
    return False


def _backend() -> str:
    """Return the kind of OpenGL that works here, and say so where it is not the usual one."""
    if _egl_works() or not has_osmesa():
        return "egl"  # where neither does, its message says what to install
    warnings.warn("EGL does not work on this machine: OSMesa draws instead, on the processor.", stacklevel=4)
    return "osmesa"


def _egl_works() -> bool:
    chosen = os.environ.get(_DEVICE)
    return any(device.starts() for device in egl.devices() if chosen in (None, str(device.number)))


def _load_without_opengl(chosen: str) -> None:
    os.environ[_CHOICE] = "disabled"
    try:
        import mujoco  # noqa: F401
    finally:
        os.environ[_CHOICE] = chosen
