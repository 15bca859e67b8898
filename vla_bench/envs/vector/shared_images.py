"""Memory shared between processes for the images of observations, and recycled copies of it.

The memory has no name in the file system (`multiprocessing.RawArray`), so that the system frees it with the last
process that uses it, however that process ends.

An array of more than 128 KiB is new memory from the system, which hands it out page by page: for the two images of an
observation that takes ten times as long as copying them (83 against 9 us).
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

_MAX_BUFFERS = 4  # a caller that stores more copies, such as a history of images, gets new memory
_UNUSED_REFERENCES = 3  # to a copy that nobody uses: by the list, the loop variable, and `getrefcount` itself
_ALIGNMENT = 64  # bytes: a cache line


class RecycledBuffers:
    """Copies of arrays of one shape. Memory is used again when nothing refers to the copy or to a view of it."""

    def __init__(self) -> None:
        self._buffers: list[NDArray[Any]] = []

    def copy(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a copy that nobody else uses."""
        for buffer in self._buffers:
            if sys.getrefcount(buffer) == _UNUSED_REFERENCES:
                buffer[...] = array
                return buffer
        copied = np.array(array, order="C")
        if len(self._buffers) < _MAX_BUFFERS:
            self._buffers.append(copied)
        return copied


@dataclass(frozen=True)
class SharedArray:
    """One array of an environment slot."""

    kind: str  # key of the observation: images, depth or segmentation
    camera: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """The bytes that it occupies in a slot."""
        needed = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        return -(-needed // _ALIGNMENT) * _ALIGNMENT


def image_arrays(
    cameras: Sequence[str], image_size: int, *, depth: bool = False, segmentation: bool = False
) -> tuple[SharedArray, ...]:
    """Return the image arrays of one observation."""
    square = (image_size, image_size)
    kinds: list[tuple[str, tuple[int, ...], str]] = [("images", (*square, 3), "uint8")]
    kinds += [("depth", square, "float32")] * depth + [("segmentation", square, "uint8")] * segmentation
    return tuple(SharedArray(kind, camera, shape, dtype) for kind, shape, dtype in kinds for camera in cameras)


class SharedImages:
    """Images of several environment slots. One process writes a slot, then notifies the other, which copies it."""

    def __init__(self, arrays: Iterable[SharedArray], slots: int, memory: Any = None) -> None:
        self._arrays, self._slots = tuple(arrays), slots
        self._memory = _allocate(slots * sum(array.size for array in self._arrays)) if memory is None else memory
        self._batches = _batches(self._arrays, slots, self._memory)
        self._copies = [[RecycledBuffers() for _ in self._arrays] for _ in range(slots)]

    def batches(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Return the images of all slots without copying them: kind -> camera -> (slots, H, W, ...)."""
        kinds: dict[str, dict[str, NDArray[Any]]] = {}
        for array, batch in zip(self._arrays, self._batches, strict=True):
            kinds.setdefault(array.kind, {})[array.camera] = batch
        return kinds

    def put(self, slot: int, observation: Observation) -> Observation:
        """Write the images into the slot; return the observation with their array numbers in place of the images."""
        return self._with_replaced_images(
            observation, lambda kind, camera, image: self._write(slot, kind, camera, image)
        )

    def take(self, slot: int, observation: Observation) -> Observation:
        """Return the observation that was `put`, with copies of the images."""
        return self._with_replaced_images(observation, lambda _, __, reference: self._read(slot, reference))

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedImages, (self._arrays, self._slots, self._memory)

    def _write(self, slot: int, kind: str, camera: str, image: NDArray[Any]) -> int | NDArray[Any]:
        for number, array in enumerate(self._arrays):
            if (array.kind, array.camera, array.shape, array.dtype) == (kind, camera, image.shape, image.dtype.name):
                self._batches[number][slot] = image
                return number
        return image  # of another shape or type: it is sent through the pipe

    def _read(self, slot: int, reference: Any) -> Any:
        if not isinstance(reference, int):
            return reference
        return self._copies[slot][reference].copy(self._batches[reference][slot])

    def _with_replaced_images(self, observation: Observation, replace: Callable[[str, str, Any], Any]) -> Observation:
        kinds = {array.kind for array in self._arrays}
        return cast(
            Observation,
            {
                key: {camera: replace(key, camera, image) for camera, image in cast(dict[str, Any], value).items()}
                if key in kinds
                else value
                for key, value in observation.items()
            },
        )


def _allocate(size: int) -> Any:
    """Return `size` bytes of zeros, which can be passed to another process when it is started."""
    return multiprocessing.get_context("spawn").RawArray(ctypes.c_uint8, max(1, size))


def _batches(arrays: Sequence[SharedArray], slots: int, memory: Any) -> list[NDArray[Any]]:
    """Return a view (slots, ...) of each array; consecutive entries are one slot apart in memory."""
    slot_size, offset = sum(array.size for array in arrays), 0
    batches: list[NDArray[Any]] = []
    for array in arrays:
        strides = np.empty(array.shape, array.dtype).strides
        batches.append(np.ndarray((slots, *array.shape), array.dtype, memory, offset, (slot_size, *strides)))
        offset += array.size
    return batches
