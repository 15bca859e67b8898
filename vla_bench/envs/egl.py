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


@dataclass(frozen=True)
class Device:
    """Something that EGL can draw on without a display."""

    number: int  # as in MUJOCO_EGL_DEVICE_ID
    handle: int

    def is_software(self) -> bool:
        """Whether it draws on the processor."""
        return _SOFTWARE in (_egl("eglQueryDeviceStringEXT", ctypes.c_char_p, self.handle, _EXTENSIONS) or b"").split()

    def starts(self) -> bool:
        """Whether its driver works. The driver is started, and reads its settings now."""
        display = _egl("eglGetPlatformDisplayEXT", ctypes.c_void_p, _PLATFORM_DEVICE, self.handle, 0)
        return bool(display) and _egl("eglInitialize", ctypes.c_uint, display, 0, 0) == _TRUE


@cache
def devices() -> tuple[Device, ...]:
    """Return this machine's devices in MuJoCo's order; none where there is no EGL, or one that needs a display."""
    found, count = (ctypes.c_void_p * _MOST_DEVICES)(), ctypes.c_int()
    if _egl("eglQueryDevicesEXT", ctypes.c_uint, _MOST_DEVICES, found, ctypes.byref(count)) != _TRUE:
        return ()
    return tuple(Device(number, handle or 0) for number, handle in enumerate(found[: count.value]))


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
