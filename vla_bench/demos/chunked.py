"""HDF5 datasets whose chunks are compressed here instead of by HDF5: the same gzip format, in a third of the time.

ISA-L's deflate makes streams that HDF5's own gzip filter reads, so any reader of HDF5 reads them. HDF5 itself only
offers zlib. `results/hdf5_layout.md` has the times.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray


def write_chunked(group: Any, name: str, values: NDArray[Any], chunks: tuple[int, ...], *, level: int) -> None:
    """Write `values` as the dataset `name`, in gzip by ISA-L at `level` (0 to 3)."""
    dataset = group.create_dataset(name, shape=values.shape, dtype=values.dtype, chunks=chunks, compression="gzip")
    for start in _starts(values.shape, chunks):
        dataset.id.write_direct_chunk(start, isal_zlib.compress(_chunk(values, start, chunks), level))


def _starts(shape: tuple[int, ...], chunks: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    return product(*(range(0, size, step) for size, step in zip(shape, chunks, strict=True)))


def _chunk(values: NDArray[Any], start: tuple[int, ...], chunks: tuple[int, ...]) -> NDArray[Any]:
    """Return a whole chunk; what lies beyond the dataset is 0."""
    part = values[tuple(slice(first, first + size) for first, size in zip(start, chunks, strict=True))]
    if part.shape == chunks:
        return np.ascontiguousarray(part)
    whole = np.zeros(chunks, dtype=values.dtype)
    whole[tuple(slice(size) for size in part.shape)] = part
    return whole
