"""Machine description (CPU, GPU, software versions), and memory and CPU time of processes."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from vla_bench.core.machine import cpu_model, memory_gb, usable_cores

_PACKAGES = ("vla-bench", "mujoco", "robosuite", "numpy", "numba", "torch", "h5py")
_ENVIRONMENT_VARIABLES = ("MUJOCO_GL", "LP_NUM_THREADS", "OMP_NUM_THREADS")


class Machine(BaseModel):
    """The hardware on which a benchmark ran."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu: str
    cores: int  # available to this process
    architecture: str
    memory_gb: float
    gpu: str = ""

    @property
    def hardware_class(self) -> tuple[str, int, str, str]:
        """Return the properties that must be equal for times to be comparable."""
        return self.cpu, self.cores, self.architecture, self.gpu

    def __str__(self) -> str:
        gpu = f", {self.gpu}" if self.gpu else ", no GPU"
        return f"{self.cpu}, {self.cores} cores, {self.memory_gb:.0f} GB, {self.architecture}{gpu}"


def this_machine() -> Machine:
    """Return the description of this machine."""
    return Machine(
        cpu=cpu_model(), cores=usable_cores(), architecture=platform.machine(), memory_gb=memory_gb(), gpu=gpu_name()
    )


def gpu_name() -> str:
    """Return the number of GPUs and the name of the first, or an empty string, without importing a GPU library."""
    if (tool := shutil.which("nvidia-smi")) is None:
        return ""
    command = [tool, "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    names = done.stdout.strip().splitlines() if done.returncode == 0 else []
    return f"{len(names)} x {names[0].strip()}" if names else ""


def software_versions() -> str:
    """Return the versions of the main packages and the environment variables that influence speed."""
    packages = ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    settings = ", ".join(f"{name}={os.environ.get(name, '(not set)')}" for name in _ENVIRONMENT_VARIABLES)
    return f"Python {platform.python_version()}, {packages}; {settings}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


def process_memory_mb(pid: int | None = None, kind: str = "Pss") -> float:
    """Return the memory of a process [MB], by default of this one; 0 where the system does not report it.

    `kind` is `Pss` (proportional set size: shared pages are divided among the sharing processes) or `Rss` (resident
    set size).
    """
    try:
        lines = Path(f"/proc/{pid or 'self'}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")) * 1024 / 1e6


def cpu_time_s(pid: int) -> float:
    """Return the CPU time of all threads of a process [s]; 0 where the system does not report it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return 0.0
    user, system = text.rpartition(")")[2].split()[11:13]  # proc(5): fields 14 and 15; the name may contain spaces
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
