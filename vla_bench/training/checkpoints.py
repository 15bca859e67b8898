"""What a run leaves in its output folder: the last checkpoint, and within it the best and numbered ones."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from vla_bench.models.openvla.checkpoint import folder_written_whole

BEST_FOLDER = "best"
_NUMBERED = "step-"


def keep_checkpoint(output: Path, write: Callable[[Path], None], *, step: int, is_best: bool, numbered: int) -> None:
    """Put what `write` writes into `output` in place of the last checkpoint, whole or not at all.

    Where it is the best so far it is `output/best` too; the newest `numbered` ones stay as `output/step-...`. Equal
    files are one on the disk (hard links) where the file system has them.
    """
    with folder_written_whole(output) as folder:
        write(folder)
        files = list(folder.iterdir())
        copies = [BEST_FOLDER] if is_best else []
        copies += [f"{_NUMBERED}{step:06d}"] if numbered else []
        for name in copies:
            (folder / name).mkdir()
            for file in files:
                _linked(str(file), str(folder / name / file.name))
        for name in _kept(output, numbered - 1, without=copies):
            shutil.copytree(output / name, folder / name, copy_function=_linked)


def _kept(output: Path, numbered: int, without: list[str]) -> list[str]:
    """Return the names of the earlier checkpoints that stay."""
    if not output.is_dir():
        return []
    names = sorted(path.name for path in output.iterdir() if path.is_dir() and path.name not in without)
    steps = [name for name in names if name.startswith(_NUMBERED)]
    return [name for name in names if name == BEST_FOLDER] + steps[len(steps) - max(0, numbered) :]


def _linked(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
    return target
