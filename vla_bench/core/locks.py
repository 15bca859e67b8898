"""An exclusive claim on an output path, released by the system when its holder ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vla_bench.core.errors import OutputInUseError


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Hold `path` for this process; raise `OutputInUseError` when another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    with lock.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            raise OutputInUseError(path, handle.read().strip() or "unknown process") from None
        handle.truncate(0)
        handle.write(f"process {os.getpid()}")
        handle.flush()
        yield
