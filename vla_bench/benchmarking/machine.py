"""The machine that measured, and with what."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version

from pydantic import BaseModel, ConfigDict

from vla_bench.core.machine import cpu_model, memory_gb, usable_cores

_PACKAGES = ("vla-bench", "mujoco", "robosuite", "numpy", "numba", "torch", "h5py")
_SETTINGS = ("MUJOCO_GL", "LP_NUM_THREADS", "OMP_NUM_THREADS")


class Machine(BaseModel):
    """What decides how fast things are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu: str
    cores: int  # that this process may use
    architecture: str
    memory_gb: float
    gpu: str = ""

    @property
    def hardware_class(self) -> tuple[str, int, str, str]:
        """Return what must be equal for times to be compared."""
        return self.cpu, self.cores, self.architecture, self.gpu

    def __str__(self) -> str:
        gpu = f", {self.gpu}" if self.gpu else ", no GPU"
        return f"{self.cpu}, {self.cores} cores, {self.memory_gb:.0f} GB, {self.architecture}{gpu}"


def this_machine() -> Machine:
    """Return the machine at hand."""
    return Machine(
        cpu=cpu_model(), cores=usable_cores(), architecture=platform.machine(), memory_gb=memory_gb(), gpu=gpu()
    )


def cores() -> int:
    """Return how many cores this process may use."""
    return usable_cores()


def gpu() -> str:
    """Return the name of the first GPU, or nothing. No library is loaded for it."""
    if (tool := shutil.which("nvidia-smi")) is None:
        return ""
    asked = [tool, "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    names = done.stdout.strip().splitlines() if done.returncode == 0 else []
    return f"{len(names)} x {names[0].strip()}" if names else ""


def software() -> str:
    """Return the versions and the settings that count."""
    packages = ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    settings = ", ".join(f"{name}={os.environ.get(name, '(not set)')}" for name in _SETTINGS)
    return f"Python {platform.python_version()}, {packages}; {settings}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"
