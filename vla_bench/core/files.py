"""Data folders, caches, atomic writes, output locks and closable resources."""

import fcntl
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from vla_bench.core.errors import ConfigurationError, OutputInUseError, OutputPathError


class Closing(ABC):
    """Base of resources that are closed at the end of a `with` block at the latest."""

    @abstractmethod
    def close(self) -> None:
        """Release the resource."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


TASKS_VARIABLE = "VLA_BENCH_TASKS"  # task files of the user and folders of them, separated as in PATH

_PACKAGE = Path(__file__).resolve().parent.parent


def data_folder(name: str) -> Path:
    """Return the data folder `envs`, `tasks`, `policies` or `baselines` of the clone, or its copy in the wheel."""
    root = _PACKAGE.parent
    is_clone = (root / "pyproject.toml").is_file() and (root / name).is_dir()
    return root / name if is_clone else _PACKAGE / "data" / name


def user_tasks() -> tuple[Path, ...]:
    """Return the task files, and folders of task files, in `VLA_BENCH_TASKS`, which worker processes inherit."""
    named = os.environ.get(TASKS_VARIABLE, "").split(os.pathsep)
    return tuple(dict.fromkeys(Path(name).expanduser().resolve() for name in named if name))


def suite_files() -> tuple[Path, ...]:
    """Return the files of all suites: those of the package, then those of the user; raise `ConfigurationError` for a
    missing file.
    """
    found = dict.fromkeys(sorted(data_folder("tasks").glob("*.toml")))
    for path in user_tasks():
        if not path.exists():
            raise ConfigurationError(
                path, "(whole file)", "does not exist", f"an existing file or folder in {TASKS_VARIABLE}"
            )
        found.update(dict.fromkeys(sorted(path.glob("*.toml")) if path.is_dir() else [path]))
    return tuple(found)


def add_user_tasks(*paths: Path | str) -> None:
    """Add task files, or folders of them, to `VLA_BENCH_TASKS` of this process and its child processes."""
    together = dict.fromkeys([*user_tasks(), *(Path(path).expanduser().resolve() for path in paths)])
    os.environ[TASKS_VARIABLE] = os.pathsep.join(map(str, together))


def user_env_folders() -> tuple[Path, ...]:
    """Return the folders `envs` next to the task files of the user: their own objects, robots and scenes."""
    homes = (path if path.is_dir() else path.parent for path in user_tasks())
    return tuple(dict.fromkeys(home / "envs" for home in homes if (home / "envs").is_dir()))


def cache_folder() -> Path:
    """Return the folder for derived files that can be regenerated; `VLA_BENCH_CACHE` overrides it."""
    root = os.environ.get("VLA_BENCH_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "vla_bench"
    folder = Path(root).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; rename it to `path` on success, delete it on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Lock the output `path` for this process; the system releases the lock when the process ends, however it ends.

    Raises `OutputInUseError` if another process holds the lock, `OutputPathError` if the path has no name, such as `.`.
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
        handle.close()  # the last holder deleted the file between opening and locking


def _is(handle: IO[str], lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), lock.stat())
    except FileNotFoundError:
        return False
