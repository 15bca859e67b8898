"""Memory and processor time of a process, as Linux counts them."""

import os
from pathlib import Path


def process_memory_mb(pid: int | None = None, kind: str = "Pss") -> float:
    """Return a process's memory [MB], this one's by default: `Pss`, shared pages divided among sharers, or `Rss`.

    0 where the system does not say it.
    """
    try:
        lines = Path(f"/proc/{pid or 'self'}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")) * 1024 / 1e6


def processor_s(pid: int) -> float:
    """Return the processor time that a process has used, all its threads [s]; 0 where the system does not say it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return 0.0
    user, system = text.rpartition(")")[2].split()[11:13]  # proc(5): fields 14 and 15; the name may hold blanks
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
