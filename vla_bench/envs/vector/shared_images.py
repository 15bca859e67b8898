"""Memory shared between processes for the images of observations, and recycled copies of it.

The memory has no name in the file system (`multiprocessing.RawArray`), so that the system frees it with the last
process that uses it, however that process ends.

An array of more than 128 KiB is new memory from the system, which hands it out page by page: for the two images of an
observation that takes ten times as long as to copy them (83 against 9 us).
"""

import ctypes
import math
import multiprocessing
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.types import Observation

# ~ Copies of large arrays in memory that is used again.
# ~
# ~ An array of more than 128 KiB is new memory from the system, which hands it out page by page: for the two
# ~ pictures of an
# ~ observation that takes ten times as long as to copy them (83 against 9 us).

_MAX_BUFFERS = 4  # a caller that keeps more, such as a history of pictures, gets new memory
_UNSHARED_REFERENCES = (
    3  # references to an array that nobody else has: the list's, the loop's, and the one that counts them
)


class RecycledBuffers:
    """Copies of arrays of one shape. Memory is used again when nobody holds the copy any more, nor a view of it."""

    def __init__(self) -> None:
        self._kept: list[NDArray[Any]] = []

    def copy(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a copy that nobody else has."""
        for kept in self._kept:
            if sys.getrefcount(kept) == _UNSHARED_REFERENCES:
                kept[...] = array
                return kept
        copied = np.array(array, order="C")
        if len(self._kept) < _MAX_BUFFERS:
            self._kept.append(copied)
        return copied


# ~ Memory that processes share: the pictures of a row's observation lie in the row's slot and go through no pipe.
# ~
# ~ The memory has no name in the file system from the moment it is made (`multiprocessing.RawArray`), so that the
# ~ system
# ~ frees it with the last process that uses it, however that one ends: nothing is left behind and nothing to clean
# ~ up.

_ALIGNMENT = 64  # bytes: a cache line


@dataclass(frozen=True)
class SharedArray:
    """One array of a slot."""

    kind: str  # key of the observation: images, depth or segmentation
    camera: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Bytes that it takes up in a slot."""
        needed = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        return -(-needed // _ALIGNMENT) * _ALIGNMENT


def image_arrays(
    cameras: Sequence[str], image_size: int, *, depth: bool = False, segmentation: bool = False
) -> tuple[SharedArray, ...]:
    """Return the arrays that the pictures of one observation are."""
    square = (image_size, image_size)
    kinds: list[tuple[str, tuple[int, ...], str]] = [("images", (*square, 3), "uint8")]
    kinds += [("depth", square, "float32")] * depth + [("segmentation", square, "uint8")] * segmentation
    return tuple(SharedArray(kind, camera, shape, dtype) for kind, shape, dtype in kinds for camera in cameras)


class SharedImages:
    """A slot for each row. One process at a time writes a slot, then says so; the other copies it out."""

    def __init__(self, arrays: Iterable[SharedArray], rows: int, memory: Any = None) -> None:
        self._arrays, self._rows = tuple(arrays), rows
        self._memory = _shared(rows * sum(array.size for array in self._arrays)) if memory is None else memory
        self._batches = _batches(self._arrays, rows, self._memory)
        self._copies = [[RecycledBuffers() for _ in self._arrays] for _ in range(rows)]

    def batches(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Return all rows' pictures where they lie: kind -> camera -> (rows, H, W, ...)."""
        kinds: dict[str, dict[str, NDArray[Any]]] = {}
        for array, batch in zip(self._arrays, self._batches, strict=True):
            kinds.setdefault(array.kind, {})[array.camera] = batch
        return kinds

    def put(self, row: int, observation: Observation) -> Observation:
        """Write the pictures into the row's slot; return the observation with their places in it instead."""
        return self._replaced(observation, lambda kind, camera, array: self._written(row, kind, camera, array))

    def take(self, row: int, observation: Observation) -> Observation:
        """Return what was `put`; nobody else has the arrays."""
        return self._replaced(observation, lambda _, __, held: self._copied(row, held))

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedImages, (self._arrays, self._rows, self._memory)

    def _written(self, row: int, kind: str, camera: str, array: NDArray[Any]) -> int | NDArray[Any]:
        for place, known in enumerate(self._arrays):
            if (known.kind, known.camera, known.shape, known.dtype) == (kind, camera, array.shape, array.dtype.name):
                self._batches[place][row] = array
                return place
        return array  # not foreseen: it goes through the pipe

    def _copied(self, row: int, held: Any) -> Any:
        return self._copies[row][held].copy(self._batches[held][row]) if isinstance(held, int) else held

    def _replaced(self, observation: Observation, change: Callable[[str, str, Any], Any]) -> Observation:
        kinds = {array.kind for array in self._arrays}
        return cast(
            Observation,
            {
                key: {camera: change(key, camera, array) for camera, array in cast(dict[str, Any], value).items()}
                if key in kinds
                else value
                for key, value in observation.items()
            },
        )


def _shared(size: int) -> Any:
    """Return `size` bytes, zero, that go to another process as an argument of its start."""
    return multiprocessing.get_context("spawn").RawArray(ctypes.c_uint8, max(1, size))


def _batches(arrays: Sequence[SharedArray], rows: int, memory: Any) -> list[NDArray[Any]]:
    """Return one array (rows, ...) for each in a slot; the rows are a slot apart."""
    slot, offset = sum(array.size for array in arrays), 0
    batches: list[NDArray[Any]] = []
    for array in arrays:
        within = np.empty(array.shape, array.dtype).strides
        batches.append(np.ndarray((rows, *array.shape), array.dtype, memory, offset, (slot, *within)))
        offset += array.size
    return batches
