"""Selection of the OpenGL backend and device (EGL, OSMesa), made before MuJoCo is loaded.

MuJoCo loads OpenGL as it is imported and cannot choose again afterwards, so this module does not import it at the top.
"""

import ctypes
import os
import sys
import warnings
from ctypes.util import find_library
from dataclasses import dataclass
from functools import cache
from typing import Any

from vla_bench.core.errors import RenderingError
from vla_bench.core.machine import usable_cores

# ~ What EGL offers on this machine, asked without loading MuJoCo, which cannot choose again once it is loaded.

_TRUE = 1
_EXTENSIONS = 0x3055
_PLATFORM_DEVICE = 0x313F
_MAX_DEVICES = 10  # that MuJoCo looks at
_SOFTWARE = b"EGL_MESA_device_software"
_CUDA_DEVICE = 0x323A  # of the extension EGL_NV_device_cuda


@dataclass(frozen=True)
class EglDevice:
    """Something that EGL can draw on without a display."""

    number: int  # as in MUJOCO_EGL_DEVICE_ID
    handle: int

    def is_software(self) -> bool:
        """Whether it draws on the processor."""
        return _SOFTWARE in (_egl("eglQueryDeviceStringEXT", ctypes.c_char_p, self.handle, _EXTENSIONS) or b"").split()

    def cuda_number(self) -> int | None:
        """Return its number in CUDA; None where it is not a GPU of NVIDIA's."""
        number = ctypes.c_ssize_t(-1)
        answered = _egl("eglQueryDeviceAttribEXT", ctypes.c_uint, self.handle, _CUDA_DEVICE, ctypes.byref(number))
        return number.value if answered == _TRUE and number.value >= 0 else None

    def starts(self) -> bool:
        """Whether its driver works. The driver is started, and reads its settings now."""
        display = _egl("eglGetPlatformDisplayEXT", ctypes.c_void_p, _PLATFORM_DEVICE, self.handle, 0)
        return bool(display) and _egl("eglInitialize", ctypes.c_uint, display, 0, 0) == _TRUE


def has_egl() -> bool:
    """Whether there is EGL on this machine at all."""
    return _egl_library() is not None


@cache
def egl_devices() -> tuple[EglDevice, ...]:
    """Return this machine's devices in MuJoCo's order; none where there is no EGL, or one that needs a display."""
    found, count = (ctypes.c_void_p * _MAX_DEVICES)(), ctypes.c_int()
    if _egl("eglQueryDevicesEXT", ctypes.c_uint, _MAX_DEVICES, found, ctypes.byref(count)) != _TRUE:
        return ()
    return tuple(EglDevice(number, handle or 0) for number, handle in enumerate(found[: count.value]))


def egl_gpus(visible: str | None = None) -> tuple[EglDevice, ...]:
    """Return the devices that are GPUs, in MuJoCo's order, or those that `visible` (CUDA_VISIBLE_DEVICES) numbers.

    EGL lists every GPU whatever that variable says, in an order of its own; NVIDIA's driver tells each one's number in
    CUDA. Where it numbers no more GPUs than are visible, it has left out the others and counts anew. What is not a list
    of numbers (a UUID, or nothing) leaves all of them.
    """
    found = tuple(device for device in egl_devices() if not device.is_software())
    by_number = {number: device for device in found if (number := device.cuda_number()) is not None}
    wanted = [part.strip() for part in (visible or "").split(",")]
    if len(by_number) < len(found) or not all(part.isdigit() for part in wanted):
        return found
    if len(by_number) <= len(wanted):
        return tuple(by_number[number] for number in sorted(by_number))
    return tuple(by_number[int(part)] for part in wanted if int(part) in by_number) or found


def _egl(name: str, returns: type[Any], *arguments: Any) -> Any:
    """Call a function of EGL, core or extension; None where this machine lacks it."""
    library = _egl_library()
    if library is None:
        return None
    address = library.eglGetProcAddress(name.encode())
    if not address:
        return None
    words = [ctypes.c_void_p(value) if isinstance(value, int) else value for value in arguments]  # whole registers
    return ctypes.CFUNCTYPE(returns)(address)(*words)


@cache
def _egl_library() -> Any:
    path = find_library("EGL")
    if path is None:
        return None
    try:
        library = ctypes.CDLL(path)
    except OSError:
        return None
    library.eglGetProcAddress.restype = ctypes.c_void_p
    return library


# ~ Loading MuJoCo, which loads the machine's OpenGL as it is imported, and the settings that OpenGL reads then.

_BACKEND_VARIABLE = "MUJOCO_GL"
_DEVICE_VARIABLE = "MUJOCO_EGL_DEVICE_ID"
_MAX_THREADS = 8  # that software OpenGL finds work for: an image of 224 pixels has 16 tiles


def load_mujoco(*, draws: bool = True) -> None:
    """Import MuJoCo with off-screen OpenGL; raise `RenderingError` where the machine has none.

    `MUJOCO_GL` chooses the kind. Where it says nothing, this is EGL on Linux, or OSMesa where EGL does not work:
    MuJoCo's own choice needs a display. Where nothing is to be drawn (`draws` false), a machine without OpenGL will do.
    """
    for name, value in opengl_variables().items():
        os.environ.setdefault(name, value)
    if sys.platform == "linux" and _BACKEND_VARIABLE not in os.environ:
        os.environ[_BACKEND_VARIABLE] = _backend() if draws else "egl"
    try:
        import mujoco  # noqa: F401
    except Exception as error:  # whatever the OpenGL stack raises: it differs from backend to backend
        chosen = os.environ.get(_BACKEND_VARIABLE, "")
        if draws:
            lacking = "this machine has no libEGL.so.1: " if chosen == "egl" and not has_egl() else ""
            raise RenderingError(
                f"{lacking}{_BACKEND_VARIABLE}={chosen} gives {type(error).__name__}: {error}"
            ) from error
        _load_without_opengl(chosen)


def opengl_variables(workers: int = 1, worker: int = 0) -> dict[str, str]:
    """Return environment variables for the OpenGL of worker number `worker` of `workers` on this machine.

    They count only before OpenGL is loaded; what the user has set should stay as it is. Mesa's software OpenGL (LP)
    with 0 threads draws in the worker's own thread, which is fastest where every core has a worker. Where the machine
    has several GPUs, workers take them in turn, or those of them that CUDA_VISIBLE_DEVICES numbers.
    """
    cores = usable_cores()
    threads = 0 if workers >= cores else min(cores // workers, _MAX_THREADS)
    variables = {"LP_NUM_THREADS": str(threads)}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = egl_gpus(visible) if workers > 1 or visible else ()  # one alone takes the first that works
    if gpus and (len(gpus) > 1 or gpus[0].number > 0):
        variables[_DEVICE_VARIABLE] = str(gpus[worker % len(gpus)].number)
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
    chosen = os.environ.get(_DEVICE_VARIABLE)
    return any(device.starts() for device in egl_devices() if chosen in (None, str(device.number)))


def _load_without_opengl(chosen: str) -> None:
    os.environ[_BACKEND_VARIABLE] = "disabled"
    try:
        import mujoco  # noqa: F401
    finally:
        os.environ[_BACKEND_VARIABLE] = chosen
