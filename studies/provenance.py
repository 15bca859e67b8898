"""How a results page came about, in the words that every page uses: machine, software, day and command."""

import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from vla_bench.core.machine import cpu_model, usable_cores


def hardware() -> str:
    """Return the processor, the cores that this process may use, and the architecture."""
    return f"{cpu_model()}, {usable_cores()} cores, {platform.machine()}"


def software(*packages: str) -> str:
    """Return the versions of Python and of these packages."""
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)])


def today() -> str:
    """Return the day, UTC."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def command() -> str:
    """Return what was typed to run this script, as it can be typed again from the root of a clone."""
    return shlex.join(["python", f"studies/{Path(sys.argv[0]).name}", *sys.argv[1:]])
