"""Measure chunk shapes and compression of images in HDF5: time of writing and of random reads, and size.

The images of the given demonstration files are written in every layout. All times are CPU times of one thread, as
medians over turns in which the layouts alternate, so that other work on the machine affects all of them equally. The
file is in the page cache: the times are those of HDF5 and the codec, not of the disk.
"""

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from provenance import command, hardware, software, today

from vla_bench.core.files import written_whole
from vla_bench.core.types import ImageArray
from vla_bench.demos.store import DemonstrationFile
from vla_bench.demos.writing import write_chunked

_WINDOW = 8  # frames
_READS = 40  # of each kind per turn


@dataclass(frozen=True)
class Layout:
    """Chunk shape and compression of the images of one camera."""

    frames: int | None  # per chunk; None: contiguous
    slab_kib: int | None  # maximum part of a frame per chunk; None: complete frames
    codec: str  # "none", "lzf", "gzip N" (zlib of HDF5), "igzip N" (ISA-L, same format)

    @property
    def shape(self) -> str:
        """Description of the chunk shape."""
        if self.frames is None:
            return "contiguous"
        rows = "whole frames" if self.slab_kib is None else f"slabs of {self.slab_kib} KiB"
        return f"{self.frames} x {rows}"

    def chunks(self, images: ImageArray) -> tuple[int, ...]:
        """Return the chunk shape for images (T, H, W, 3)."""
        steps, height, *rest = images.shape
        slabs = 1 if self.slab_kib is None else math.ceil(images[0].nbytes / (1024 * self.slab_kib))
        return (min(self.frames or 1, steps), math.ceil(height / slabs), *rest)

    def write(self, group: Any, name: str, images: ImageArray) -> None:
        """Write the images of one camera."""
        codec, _, level = self.codec.partition(" ")
        if codec == "igzip":
            write_chunked(group, name, images, self.chunks(images), level=int(level))
            return
        chunks = None if self.frames is None else self.chunks(images)
        options = {"none": {}, "lzf": {"compression": "lzf"}}.get(
            codec, {"compression": "gzip", "compression_opts": int(level or 0)}
        )
        group.create_dataset(name, data=images, chunks=chunks, **options)


LAYOUTS = (
    Layout(None, None, "none"),
    *(Layout(1, None, codec) for codec in ("lzf", "gzip 2", "igzip 3")),
    *(Layout(4, None, codec) for codec in ("lzf", "gzip 2", "gzip 4", "igzip 3")),
    *(Layout(4, 16, codec) for codec in ("none", "lzf", "gzip 1", "gzip 2", "gzip 4", "igzip 1", "igzip 2", "igzip 3")),
    *(Layout(2, 16, codec) for codec in ("gzip 2", "igzip 3")),
    *(Layout(4, 8, codec) for codec in ("gzip 2", "igzip 2", "igzip 3")),
    *(Layout(8, 8, codec) for codec in ("gzip 2", "igzip 2", "igzip 3")),
    *(Layout(4, 4, codec) for codec in ("gzip 2", "igzip 3")),
    *(Layout(16, 4, codec) for codec in ("gzip 2", "igzip 2", "igzip 3")),
)


@dataclass
class Measured:
    """CPU times [ms] of a layout, one value per turn, and its size."""

    write: list[float] = field(default_factory=list)  # per frame
    frame: list[float] = field(default_factory=list)  # one random frame
    window: list[float] = field(default_factory=list)  # `_WINDOW` consecutive frames at a random position
    whole: list[float] = field(default_factory=list)  # per frame, all frames in order
    share: float = 0.0  # fraction of the raw size


def measure(episodes: Sequence[ImageArray], turns: int) -> dict[Layout, Measured]:
    """Return times and size of each layout for the images `episodes`, one array per episode and camera."""
    found = {layout: Measured() for layout in LAYOUTS}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(turns):
            for layout, measured in found.items():
                _turn(Path(folder) / "images.hdf5", layout, episodes, measured, turn)
            print(f"\rturn {turn + 1} of {turns}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def _turn(path: Path, layout: Layout, episodes: Sequence[ImageArray], measured: Measured, turn: int) -> None:
    frames = sum(map(len, episodes))

    def write() -> None:
        with h5py.File(path, "w", libver=("v108", "v110")) as file:
            for number, images in enumerate(episodes):
                layout.write(file.create_group(f"demo_{number}"), "images", images)

    measured.write.append(_ms(write) / frames)
    measured.share = path.stat().st_size / sum(images.nbytes for images in episodes)
    generator = np.random.default_rng(turn)  # the same reads for every layout
    with h5py.File(path, "r") as file:
        stored = [file[f"demo_{number}/images"] for number in range(len(episodes))]
        places = [
            (which, int(generator.integers(len(stored[which]) - _WINDOW)))
            for which in generator.integers(len(stored), size=_READS)
        ]
        measured.frame.append(_ms(lambda: [stored[which][at] for which, at in places]) / _READS)
        measured.window.append(_ms(lambda: [stored[which][at : at + _WINDOW] for which, at in places]) / _READS)
        measured.whole.append(_ms(lambda: [one[()] for one in stored]) / frames)
        if not all(np.array_equal(one[()], images) for one, images in zip(stored, episodes, strict=True)):
            raise AssertionError(f"{layout} does not return the written images")


def _ms(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began)


def _episodes(path: Path) -> list[ImageArray]:
    with DemonstrationFile(path) as file:
        return [
            images
            for name in file.names
            for _, images in sorted(file.read(name, cameras=file.header.cameras).images.items())
        ]


def _table(title: str, episodes: Sequence[ImageArray], found: dict[Layout, Measured]) -> list[str]:
    frames, (height, width, _) = sum(map(len, episodes)), episodes[0].shape[1:]
    return [
        f"## {title}: {frames} frames of {height} x {width} pixels",
        "",
        f"| chunk | codec | write | one random frame | {_WINDOW} consecutive frames | all in order | size |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {layout.shape} | {layout.codec} | {statistics.median(measured.write):.2f} | "
            f"{statistics.median(measured.frame):.2f} | {statistics.median(measured.window):.2f} | "
            f"{statistics.median(measured.whole):.2f} | {measured.share:.1%} |"
            for layout, measured in found.items()
        ),
        "",
    ]


def _report(tables: Sequence[list[str]], names: Sequence[str], turns: int) -> str:
    return "\n".join(
        [
            "# HDF5 layouts of images",
            "",
            "Milliseconds of CPU time of one thread, medians over turns in which all layouts alternate: per frame "
            "for writing",
            "and for reading in order, per read for random reads. Sizes are relative to the raw images. `gzip N` is "
            "HDF5's",
            "filter (zlib, level N); `igzip N` is the same format written by ISA-L, which every HDF5 library reads "
            "as gzip.",
            "Slabs: a chunk holds at most this much of each of its frames.",
            "",
            *(line for table in tables for line in table),
            f"- Hardware: {hardware()}; turns: {turns}",
            f"- Software: {software('h5py', 'isal')}, HDF5 {h5py.version.hdf5_version}",
            f"- Date: {today()}",
            f"- Command: `{command()}`",
            "- Demonstrations: `vla-bench generate-demos --task TASK --episodes 3`, seed 0",
            "",
        ]
    )


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "demos", type=Path, nargs="+", help="demonstration files of `vla-bench generate-demos`; one table per file"
    )
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("results/hdf5_layout.md"))
    options = parser.parse_args()
    tables = []
    for path in options.demos:
        episodes = _episodes(path)
        tables.append(_table(path.stem, episodes, measure(episodes, options.turns)))
    page = _report(tables, [path.name for path in options.demos], options.turns)
    with written_whole(options.output) as path:
        path.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
