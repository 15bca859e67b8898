"""The provenance lines of a results page: hardware, software, date and command."""

import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from vla_bench.core.machine import cpu_model, usable_cores


def hardware() -> str:
    """Return CPU model, usable cores and architecture."""
    return f"{cpu_model()}, {usable_cores()} cores, {platform.machine()}"


def software(*packages: str) -> str:
    """Return the versions of Python and of `packages`."""
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)])


def today() -> str:
    """Return the date in UTC."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def command() -> str:
    """Return the command of this script, as it can be run again from the root of a clone."""
    return shlex.join(["python", f"studies/{Path(sys.argv[0]).name}", *sys.argv[1:]])
