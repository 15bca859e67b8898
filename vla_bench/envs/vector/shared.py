"""Memory that processes share: the pictures of a row's observation lie in the row's slot and go through no pipe.

The memory has no name in the file system from the moment it is made (`multiprocessing.RawArray`), so that the system
frees it with the last process that uses it, however that one ends: nothing is left behind and nothing to clean up.
"""

import ctypes
import math
import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vla_bench.core.types import Observation

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


def pictures_of(
    cameras: Sequence[str], image_size: int, *, depth: bool = False, segmentation: bool = False
) -> tuple[SharedArray, ...]:
    """Return the arrays that the pictures of one observation are."""
    square = (image_size, image_size)
    kinds: list[tuple[str, tuple[int, ...], str]] = [("images", (*square, 3), "uint8")]
    kinds += [("depth", square, "float32")] * depth + [("segmentation", square, "uint8")] * segmentation
    return tuple(SharedArray(kind, camera, shape, dtype) for kind, shape, dtype in kinds for camera in cameras)


def shared_memory(size: int) -> Any:
    """Return `size` bytes, zero, that go to another process as an argument of its start."""
    return multiprocessing.get_context("spawn").RawArray(ctypes.c_uint8, max(1, size))


class SharedPictures:
    """A slot for each row. One process at a time writes a slot, then says so; the other copies it out."""

    def __init__(self, arrays: Iterable[SharedArray], rows: int, memory: Any = None) -> None:
        self._arrays, self._rows = tuple(arrays), rows
        slot = sum(array.size for array in self._arrays)
        self._memory = shared_memory(rows * slot) if memory is None else memory
        self._slots = [_slot(self._arrays, self._memory, row * slot) for row in range(rows)]

    def put(self, row: int, observation: Observation) -> Observation:
        """Write the pictures into the row's slot; return the observation with their places in it instead."""
        return self._replaced(observation, lambda kind, camera, array: self._written(row, kind, camera, array))

    def take(self, row: int, observation: Observation) -> Observation:
        """Return what was `put`; every array is new memory."""
        slot = self._slots[row]
        return self._replaced(observation, lambda _, __, held: slot[held].copy() if isinstance(held, int) else held)

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedPictures, (self._arrays, self._rows, self._memory)

    def _written(self, row: int, kind: str, camera: str, array: NDArray[Any]) -> int | NDArray[Any]:
        for place, (known, slot) in enumerate(zip(self._arrays, self._slots[row], strict=True)):
            if (known.kind, known.camera) == (kind, camera) and (slot.shape, slot.dtype) == (array.shape, array.dtype):
                slot[...] = array
                return place
        return array  # not foreseen: it goes through the pipe

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


def view_of(memory: Any, offset: int, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return the array (shape) that begins at byte `offset` of shared memory."""
    return np.frombuffer(memory, dtype, math.prod(shape), offset).reshape(shape)


def _slot(arrays: Sequence[SharedArray], memory: Any, offset: int) -> list[NDArray[Any]]:
    views = []
    for array in arrays:
        views.append(view_of(memory, offset, array.shape, array.dtype))
        offset += array.size
    return views
