"""Chunks that are compressed outside of HDF5: any reader of HDF5 reads them."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from vla_bench.demos.writing import write_chunked


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        ((5, 24, 24, 3), (4, 9, 24, 3)),  # neither axis is a whole number of chunks
        ((4, 8, 8, 3), (4, 8, 8, 3)),
        ((1, 7), (1, 7)),
    ],
)
def test_hdf5_reads_what_was_written(
    tmp_path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], level: int
) -> None:
    values = np.random.default_rng(0).integers(0, 5, shape).astype(np.uint8)
    with h5py.File(tmp_path / "images.hdf5", "w") as file:
        write_chunked(file.create_group("obs"), "image", values, chunks, level=level)
    with h5py.File(tmp_path / "images.hdf5", "r") as file:
        dataset = file["obs/image"]
        assert (dataset.compression, dataset.chunks, dataset.dtype) == ("gzip", chunks, np.uint8)
        np.testing.assert_array_equal(dataset[()], values)
        np.testing.assert_array_equal(dataset[shape[0] - 1], values[-1])


def test_memory_of_any_order_is_written_in_the_array_s_order(tmp_path: Path) -> None:
    values = np.arange(4 * 6 * 5, dtype=np.uint8).reshape(5, 6, 4).transpose(2, 1, 0)[::-1]
    with h5py.File(tmp_path / "images.hdf5", "w") as file:
        write_chunked(file, "image", values, (3, 4, 5), level=2)
        np.testing.assert_array_equal(file["image"][()], values)
