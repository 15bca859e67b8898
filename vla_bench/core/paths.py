"""Where the data folders, caches and temporary files lie."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def data_folder(name: str) -> Path:
    """Return the data folder `envs`, `tasks`, `policies` or `baselines`: the clone's, or the wheel's copy of it."""
    root = _PACKAGE.parent
    is_clone = (root / "pyproject.toml").is_file() and (root / name).is_dir()
    return root / name if is_clone else _PACKAGE / "data" / name


def cache_folder() -> Path:
    """Return the folder for derived files that can be made again; `VLA_BENCH_CACHE` moves it."""
    root = os.environ.get("VLA_BENCH_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "vla_bench"
    folder = Path(root).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, delete it on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
