"""EGL devices of this machine, found without loading MuJoCo.

MuJoCo loads OpenGL as it is imported and cannot choose again afterwards, so devices are queried through EGL itself.
"""

import ctypes
from ctypes.util import find_library
from dataclasses import dataclass
from functools import cache
from typing import Any

_TRUE = 1
_EXTENSIONS = 0x3055
_PLATFORM_DEVICE = 0x313F
_MAX_DEVICES = 10  # MuJoCo considers no more
_SOFTWARE = b"EGL_MESA_device_software"
_CUDA_DEVICE = 0x323A  # of the extension EGL_NV_device_cuda


@dataclass(frozen=True)
class EglDevice:
    """A device on which EGL renders without a display."""

    number: int  # as in MUJOCO_EGL_DEVICE_ID
    handle: int

    def is_software(self) -> bool:
        """Return whether this device renders on the CPU."""
        return _SOFTWARE in (_egl("eglQueryDeviceStringEXT", ctypes.c_char_p, self.handle, _EXTENSIONS) or b"").split()

    def cuda_number(self) -> int | None:
        """Return the device's number in CUDA, or None if it is not an NVIDIA GPU."""
        number = ctypes.c_ssize_t(-1)
        answered = _egl("eglQueryDeviceAttribEXT", ctypes.c_uint, self.handle, _CUDA_DEVICE, ctypes.byref(number))
        return number.value if answered == _TRUE and number.value >= 0 else None

    def starts(self) -> bool:
        """Return whether the driver starts. It reads its environment variables at this moment."""
        display = _egl("eglGetPlatformDisplayEXT", ctypes.c_void_p, _PLATFORM_DEVICE, self.handle, 0)
        return bool(display) and _egl("eglInitialize", ctypes.c_uint, display, 0, 0) == _TRUE


def has_egl() -> bool:
    """Return whether the EGL library can be loaded."""
    return _egl_library() is not None


@cache
def egl_devices() -> tuple[EglDevice, ...]:
    """Return this machine's devices in MuJoCo's order; none without EGL, or if EGL needs a display."""
    found, count = (ctypes.c_void_p * _MAX_DEVICES)(), ctypes.c_int()
    if _egl("eglQueryDevicesEXT", ctypes.c_uint, _MAX_DEVICES, found, ctypes.byref(count)) != _TRUE:
        return ()
    return tuple(EglDevice(number, handle or 0) for number, handle in enumerate(found[: count.value]))


def egl_gpus(visible: str | None = None) -> tuple[EglDevice, ...]:
    """Return the GPUs in MuJoCo's order, limited to those listed in `visible` (the value of CUDA_VISIBLE_DEVICES).

    EGL lists every GPU regardless of that variable and in its own order; NVIDIA's driver reports each device's number
    in CUDA. A driver that reports no more GPUs than are visible has already left out the others and counts from 0. If
    `visible` is not a list of numbers (a UUID, or empty), all GPUs are returned.
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
    """Call a core or extension function of EGL; return None if this machine lacks it."""
    library = _egl_library()
    if library is None:
        return None
    address = library.eglGetProcAddress(name.encode())
    if not address:
        return None
    # Integers are passed as whole registers: handles are pointers.
    words = [ctypes.c_void_p(value) if isinstance(value, int) else value for value in arguments]
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
