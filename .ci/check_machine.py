"""Say what this machine lacks for the installation and for rendering, and how to get it.

Runs before anything is installed, with the standard library alone; exits with status 1 if something is missing.
"""

import ctypes.util
import importlib.util
import shutil
import sys
import sysconfig
from pathlib import Path

_OLDEST = (3, 11)
_LIBRARIES = {"EGL": "libegl1 libgl1-mesa-dri", "GL": "libgl1", "glib-2.0": "libglib2.0-0"}


def missing() -> list[str]:
    """Return one line for each thing that is missing."""
    lines = []
    if sys.version_info < _OLDEST:
        lines.append(f"Python {sys.version.split()[0]} is too old: 3.11 or later is needed (make PYTHON=...).")
    if importlib.util.find_spec("ensurepip") is None:
        lines.append("Python's venv module is incomplete: apt-get install python3-venv")
    return lines + (_missing_on_linux() if sys.platform.startswith("linux") else [])


def _missing_on_linux() -> list[str]:
    lines = []
    # robosuite -> pynput -> evdev comes as source code only, so it is compiled on installation.
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        lines.append("No C compiler (a dependency of robosuite is compiled): apt-get install gcc libc6-dev")
    # meshoptimizer comes as source code only, too.
    if shutil.which("c++") is None and shutil.which("g++") is None:
        lines.append("No C++ compiler (meshoptimizer is compiled): apt-get install g++")
    header = Path(sysconfig.get_paths()["include"], "Python.h")
    if not header.is_file():
        lines.append(f"Python's C headers are missing ({header}): apt-get install python3-dev")
    if not Path("/usr/include/linux/input.h").is_file():
        lines.append("The kernel's headers are missing (linux/input.h): apt-get install linux-libc-dev")
    return lines + [
        f"The library lib{name} is missing (rendering without a screen needs it): apt-get install {packages}"
        for name, packages in _LIBRARIES.items()
        if ctypes.util.find_library(name) is None
    ]


if __name__ == "__main__":
    if problems := missing():
        sys.exit("\n  ".join(["This machine is not ready for vla_bench:", *problems]))
