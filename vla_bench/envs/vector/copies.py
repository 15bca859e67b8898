"""Copies of large arrays in memory that is used again.

An array of more than 128 KiB is new memory from the system, which hands it out page by page: for the two pictures of an
observation that takes ten times as long as to copy them (83 against 9 us).
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_KEPT = 4  # a caller that keeps more, such as a history of pictures, gets new memory
_OURS = 3  # references to an array that nobody else has: the list's, the loop's, and the one that counts them


class RecycledCopies:
    """Copies of arrays of one shape. Memory is used again when nobody holds the copy any more, nor a view of it."""

    def __init__(self) -> None:
        self._kept: list[NDArray[Any]] = []

    def copy(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a copy that nobody else has."""
        for kept in self._kept:
            if sys.getrefcount(kept) == _OURS:
                kept[...] = array
                return kept
        copied = np.array(array, order="C")
        if len(self._kept) < _MOST_KEPT:
            self._kept.append(copied)
        return copied
