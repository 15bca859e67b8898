"""What EGL offers on this machine, asked without loading MuJoCo, which cannot choose again once it is loaded."""

import ctypes
from ctypes.util import find_library
from dataclasses import dataclass
from functools import cache
from typing import Any

_TRUE = 1
_EXTENSIONS = 0x3055
_PLATFORM_DEVICE = 0x313F
_MOST_DEVICES = 10  # that MuJoCo looks at
_SOFTWARE = b"EGL_MESA_device_software"
_CUDA_DEVICE = 0x323A  # of the extension EGL_NV_device_cuda


@dataclass(frozen=True)
class Device:
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


def is_installed() -> bool:
    """Whether there is EGL on this machine at all."""
    return _library() is not None


@cache
def devices() -> tuple[Device, ...]:
    """Return this machine's devices in MuJoCo's order; none where there is no EGL, or one that needs a display."""
    found, count = (ctypes.c_void_p * _MOST_DEVICES)(), ctypes.c_int()
    if _egl("eglQueryDevicesEXT", ctypes.c_uint, _MOST_DEVICES, found, ctypes.byref(count)) != _TRUE:
        return ()
    return tuple(Device(number, handle or 0) for number, handle in enumerate(found[: count.value]))


def gpus(visible: str | None = None) -> tuple[Device, ...]:
    """Return the devices that are GPUs, in MuJoCo's order, or those that `visible` (CUDA_VISIBLE_DEVICES) numbers.

    EGL lists every GPU whatever that variable says, in an order of its own; NVIDIA's driver tells each one's number in
    CUDA. Where it numbers no more GPUs than are visible, it has left out the others and counts anew. What is not a list
    of numbers (a UUID, or nothing) leaves all of them.
    """
    found = tuple(device for device in devices() if not device.is_software())
    by_number = {number: device for device in found if (number := device.cuda_number()) is not None}
    wanted = [part.strip() for part in (visible or "").split(",")]
    if len(by_number) < len(found) or not all(part.isdigit() for part in wanted):
        return found
    if len(by_number) <= len(wanted):
        return tuple(by_number[number] for number in sorted(by_number))
    return tuple(by_number[int(part)] for part in wanted if int(part) in by_number) or found


def _egl(name: str, returns: type[Any], *arguments: Any) -> Any:
    """Call a function of EGL, core or extension; None where this machine lacks it."""
    library = _library()
    if library is None:
        return None
    address = library.eglGetProcAddress(name.encode())
    if not address:
        return None
    words = [ctypes.c_void_p(value) if isinstance(value, int) else value for value in arguments]  # whole registers
    return ctypes.CFUNCTYPE(returns)(address)(*words)


@cache
def _library() -> Any:
    path = find_library("EGL")
    if path is None:
        return None
    try:
        library = ctypes.CDLL(path)
    except OSError:
        return None
    library.eglGetProcAddress.restype = ctypes.c_void_p
    return library
