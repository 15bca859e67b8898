"""Shared access to HDF5 files of demonstrations."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.errors import DemonstrationFileError
from vla_bench.core.types import ImageArray

_CHANNELS = 3
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, IndexError)  # h5py's errors on damaged metadata


class SourceCandidate:
    """A file or folder whose format is to be recognized; an HDF5 file is opened once for all formats."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Attributes of the group `data`; empty where the file cannot be read."""
        return self._signature[0]

    @property
    def observations(self) -> set[str]:
        """Names of the observations of the first demonstration; empty where the file cannot be read."""
        return self._signature[1]

    @cached_property
    def _signature(self) -> tuple[Mapping[str, Any], set[str]]:
        try:
            with h5py.File(self.path, "r") as file:
                data = file.get("data")
                if not isinstance(data, h5py.Group):
                    return {}, set()
                return dict(data.attrs), _first_observations(data)
        except _DAMAGE:
            return {}, set()


def episode_number(name: str) -> tuple[int, str]:
    """Return a sorting key that puts demo_2 before demo_10."""
    digits = re.search(r"(\d+)$", name)
    return (int(digits[1]) if digits else -1, name)


def open_hdf5(path: Path) -> Any:
    """Open a file for reading; raise `DemonstrationFileError` with the reason where that fails."""
    if path.is_dir():
        raise DemonstrationFileError(path, "this is a folder; expected an HDF5 file of demonstrations")
    if not path.is_file():
        raise DemonstrationFileError(path, "there is no such file")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DemonstrationFileError(path, _open_error_text(path, str(error))) from error


@contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Raise `DemonstrationFileError` where the block cannot read the metadata of an HDF5 file."""
    try:
        yield
    except _DAMAGE as error:
        raise DemonstrationFileError(path, f"the file is damaged and cannot be read ({error})") from error


def read_rows(path: Path, dataset: Any, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Return `dataset[rows]` for rows in any order; adjacent rows are decompressed once."""
    order = np.unique(rows)
    found = np.empty((len(order), *dataset.shape[1:]), dtype=dataset.dtype)
    runs = np.split(np.arange(len(order)), np.flatnonzero(np.diff(order) != 1) + 1)
    try:
        for run in runs:
            if len(run):
                found[run[0] : run[-1] + 1] = dataset[int(order[run[0]]) : int(order[run[-1]]) + 1]
    except _DAMAGE as error:
        raise DemonstrationFileError(path, f"{dataset.name} is damaged and cannot be read ({error})") from error
    return found[np.searchsorted(order, rows)]


def read_all(path: Path, dataset: Any) -> NDArray[Any]:
    """Return a whole dataset; raise `DemonstrationFileError` where it is damaged."""
    try:
        return np.asarray(dataset[()])
    except _DAMAGE as error:
        raise DemonstrationFileError(path, f"{dataset.name} is damaged and cannot be read ({error})") from error


def read_images(path: Path, dataset: Any, rows: NDArray[np.int64], steps: int) -> ImageArray:
    """Return `dataset[rows]`; raise unless the dataset holds exactly one RGB image for each of the `steps` steps.

    A dataset with too many images is refused like one with too few: the image that belongs to an action is unknown.
    """
    shape, name = dataset.shape, dataset.name.removeprefix("/data/")
    if len(shape) != 4 or shape[3] != _CHANNELS or dataset.dtype != np.uint8:
        found = f"{dataset.dtype} of shape {shape}"
        raise DemonstrationFileError(path, f"{name} is {found}, expected uint8 images (T, height, width, {_CHANNELS})")
    if shape[0] != steps:
        raise DemonstrationFileError(path, f"{name} has {shape[0]} images, but there are {steps} actions")
    images: ImageArray = read_rows(path, dataset, rows)
    return images


def _first_observations(data: Any) -> set[str]:
    first = next(iter(data.values()), None)
    observations = first.get("obs") if isinstance(first, h5py.Group) else None
    return set(observations) if isinstance(observations, h5py.Group) else set()


def _open_error_text(path: Path, reason: str) -> str:
    size = path.stat().st_size
    if truncated := re.search(r"stored_eof = (\d+)", reason):
        whole = int(truncated[1])
        return f"the file is truncated ({size:,} of {whole:,} bytes are present): copy or generate it again"
    if "signature not found" in reason:
        return f"not an HDF5 file ({size:,} bytes): expected a file that `vla-bench generate-demos` wrote"
    return f"cannot be opened as HDF5 ({reason})"
