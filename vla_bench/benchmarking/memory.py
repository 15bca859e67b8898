"""Memory of a process, as Linux counts it."""

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
