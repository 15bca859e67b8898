"""An exclusive claim on an output path, released by the system when its holder ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from vla_bench.core.errors import OutputInUseError, OutputPathError


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Hold `path` for this process, without leaving a trace.

    Raises `OutputInUseError` when another process holds it, `OutputPathError` when it has no name, such as `.`.
    """
    if not path.name:
        raise OutputPathError(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    with _locked(path, lock) as handle:
        handle.truncate(0)
        handle.write(f"process {os.getpid()}")
        handle.flush()
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _locked(path: Path, lock: Path) -> IO[str]:
    """Return the lock file, open and locked."""
    while True:
        handle = lock.open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            with handle:
                handle.seek(0)
                raise OutputInUseError(path, handle.read().strip() or "unknown process") from None
        if _is(handle, lock):
            return handle
        handle.close()  # its last holder deleted it between our opening and our locking it


def _is(handle: IO[str], lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), lock.stat())
    except FileNotFoundError:
        return False
