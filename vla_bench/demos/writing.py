"""Writer of demonstration files, which also copies demonstrations between files without decompressing them.

Image chunks are compressed here by ISA-L's deflate and written as they are, in a third of the time of HDF5's own gzip
filter. The streams are valid gzip streams, so that every HDF5 reader reads them. Times: `results/hdf5_layout.md`.
"""

import io
import math
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby, product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from vla_bench.core.episode import array_hash
from vla_bench.core.errors import DemonstrationFileError, VlaBenchError
from vla_bench.core.files import written_whole
from vla_bench.demos.demonstration import LABELS, Demonstration, DemonstrationSummary
from vla_bench.demos.hdf5 import damage_reported, open_hdf5
from vla_bench.demos.header import FileHeader

_LIBRARY_VERSIONS = ("v108", "v110")  # readable by every HDF5 since 1.10
_COMPRESSION = {
    "compression": "gzip",
    "compression_opts": 2,
}  # lzf needs twice the space, gzip 4 needs 1.5 times the time
_IMAGE_LEVEL = 2  # of ISA-L: a third of zlib's time, up to a tenth more space; level 3 is slower and not smaller
_FRAMES_PER_CHUNK = 4
_SLAB_BYTES = 16 * 1024  # deflate's window is 32 kB: with two slabs in it, the next frame matches the previous one
_VALIDATION_PERIOD = 10  # the second of every ten successes of a task is for validation; stable when more are added


class DemonstrationWriteError(VlaBenchError):
    """A demonstration file that could not be written completely and was removed."""

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(
            f"Cannot write {path}: {cause}. The incomplete file was removed. "
            "Free disk space or choose another --output."
        )


@dataclass(frozen=True)
class StoredDemonstration:
    """A finished demonstration in a file."""

    path: Path
    name: str
    summary: DemonstrationSummary = field(compare=False)


Masks = Mapping[str, Sequence[int]]  # subset -> positions in the file, from 0


def write_demonstrations(
    path: Path | str, header: FileHeader, demonstrations: Iterable[Demonstration], masks: Masks | None = None
) -> None:
    """Write a file with the subsets `masks`, by default `train` and `valid`, and one subset for each task."""
    with _open_for_writing(Path(path)) as file:
        data = _data_group(file, header)
        for number, demonstration in enumerate(demonstrations):
            _write_one(data.create_group(f"demo_{number}"), demonstration)
        _finish(file, masks)


def write_part(path: Path, header: FileHeader, demonstration: Demonstration) -> None:
    """Write a file of one demonstration; it is built in memory, so that a full disk leaves no incomplete file."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=_LIBRARY_VERSIONS) as file:
        _write_one(_data_group(file, header).create_group("demo_0"), demonstration)
        _finish(file)
    try:
        with written_whole(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())
    except OSError as error:
        raise DemonstrationWriteError(path, error.strerror or str(error)) from error


def copy_demonstrations(
    output: Path, header: FileHeader, sources: Sequence[StoredDemonstration], masks: Masks | None = None
) -> None:
    """Copy stored demonstrations into one file, in order and unchanged; subsets as in `write_demonstrations`."""
    _check_room(output, sources)
    with _open_for_writing(output) as file:
        data = _data_group(file, header)
        for path, group in groupby(enumerate(sources), key=lambda numbered: numbered[1].path):
            with open_hdf5(path) as part:
                for number, source in group:
                    with damage_reported(path):
                        stored = part[f"data/{source.name}"]
                    part.copy(stored, data, name=f"demo_{number}")
                    _copy_model(part, file, source)
        _finish(file, masks)


def subsets(summaries: Mapping[str, DemonstrationSummary]) -> dict[str, list[str]]:
    """Return robomimic's masks: names of demonstrations by subset.

    `train` and `valid` hold successes only; `failure` exists where the file holds failures.
    """
    found: dict[str, list[str]] = {"train": [], "valid": []}
    successes: dict[str, int] = defaultdict(int)
    for name, summary in summaries.items():
        found.setdefault(summary.identity.task_id, []).append(name)
        if not summary.success:
            found.setdefault("failure", []).append(name)
            continue
        validates = successes[summary.identity.task_id] % _VALIDATION_PERIOD == 1
        successes[summary.identity.task_id] += 1
        found["valid" if validates else "train"].append(name)
    return found


def write_chunked(group: Any, name: str, values: NDArray[Any], chunks: tuple[int, ...], *, level: int) -> None:
    """Write `values` as the dataset `name`, compressed by ISA-L at `level` (0 to 3)."""
    dataset = group.create_dataset(name, shape=values.shape, dtype=values.dtype, chunks=chunks, compression="gzip")
    for start in _chunk_starts(values.shape, chunks):
        dataset.id.write_direct_chunk(start, isal_zlib.compress(_padded_chunk(values, start, chunks), level))


def _write_one(group: Any, demonstration: Demonstration) -> None:
    summary = demonstration.summary()
    group.attrs.update(summary.to_attributes())
    group.attrs["model_file"] = _store_model(group.file, demonstration.model_xml)
    group.create_dataset("obs/proprioception", data=demonstration.proprioception.astype(np.float32))
    for camera, images in demonstration.images.items():
        write_chunked(group, f"obs/{camera}_image", images, _chunks(images), level=_IMAGE_LEVEL)
    for camera, depth in demonstration.depth.items():
        chunks = _chunks(depth)
        group.create_dataset(f"obs/{camera}_depth", data=depth, chunks=chunks, shuffle=True, **_COMPRESSION)
    for camera, segments in demonstration.segmentation.items():
        write_chunked(group, f"obs/{camera}_segmentation", segments, _chunks(segments), level=_IMAGE_LEVEL)
    for camera, track in demonstration.cameras.items():
        poses = group.create_dataset(f"cameras/{camera}", data=track.pose_world.astype(np.float64))
        poses.attrs["intrinsics"] = track.intrinsics
    group.create_dataset("actions", data=demonstration.actions.astype(np.float32))
    group.create_dataset("executed_actions", data=demonstration.executed_actions.astype(np.float32))
    group.create_dataset("rewards", data=demonstration.rewards.astype(np.float32))
    group.create_dataset("dones", data=demonstration.dones.astype(np.uint8))
    group.create_dataset("states", data=demonstration.states.astype(np.float64), shuffle=True, **_COMPRESSION)
    numbers = [summary.phase_names.index(phase) for phase in demonstration.phases]
    group.create_dataset("phases", data=np.array(numbers, dtype=np.uint8))
    group.create_dataset("labels", data=np.array([LABELS.index(one) for one in demonstration.labels], dtype=np.uint8))
    if demonstration.step_numbers is not None:
        group.create_dataset("step_numbers", data=demonstration.step_numbers.astype(np.int32))


def _store_model(file: Any, xml: str) -> str:
    """Store a model unless the file holds it already, and return the name of its dataset.

    robomimic's own files repeat the XML in every demonstration, which would double the size of our files.
    """
    text = np.frombuffer(xml.encode(), dtype=np.uint8)
    name = f"models/{array_hash(text)}"
    if name not in file:
        file.create_dataset(name, data=text, chunks=text.shape, **_COMPRESSION)
    return name


def _copy_model(part: Any, target: Any, source: StoredDemonstration) -> None:
    name = str(part[f"data/{source.name}"].attrs.get("model_file", ""))
    if name not in part:
        raise DemonstrationFileError(source.path, f"{source.name} lacks its model {name!r}")
    if name not in target:
        part.copy(part[name], target.require_group("models"), name=name.removeprefix("models/"))


def _chunks(frames: NDArray[Any]) -> tuple[int, ...]:
    """Return a chunk shape of a few frames by as many image rows as fit into one slab.

    Files are a tenth smaller (with textures a third) and written faster than with chunks of whole frames; a random
    frame of 224 pixels is read in 1 to 2 ms (`results/hdf5_layout.md`).
    """
    steps, height, *rest = frames.shape
    slabs = math.ceil(frames[0].nbytes / _SLAB_BYTES)
    return (min(_FRAMES_PER_CHUNK, steps), math.ceil(height / slabs), *rest)


def _data_group(file: Any, header: FileHeader) -> Any:
    data = file.create_group("data")
    data.attrs.update(header.to_attributes())
    return data


def _finish(file: Any, masks: Masks | None = None) -> None:
    """Add the data that depends on all demonstrations: their total length and the subsets."""
    data = file["data"]
    names = sorted(data, key=lambda name: int(name.removeprefix("demo_")))
    summaries = {name: DemonstrationSummary.from_attributes(data[name].attrs) for name in names}
    data.attrs["total"] = sum(summary.steps for summary in summaries.values())
    chosen = subsets(summaries)
    if masks is not None:
        chosen = {name: members for name, members in chosen.items() if name not in ("train", "valid")}
        chosen |= {name: [f"demo_{place}" for place in places] for name, places in masks.items()}
    for subset, members in chosen.items():
        file.create_dataset(f"mask/{subset}", data=np.array([name.encode() for name in members], dtype="S"))


def _check_room(output: Path, sources: Sequence[StoredDemonstration]) -> None:
    needed = sum(path.stat().st_size for path in {source.path for source in sources})
    output.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(output.parent).free
    if needed > free:
        raise DemonstrationWriteError(output, f"it needs {needed / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free")


@contextmanager
def _open_for_writing(path: Path) -> Iterator[Any]:
    """Yield a new HDF5 file that is moved to `path` when it is complete."""
    try:
        with written_whole(path) as temporary, h5py.File(temporary, "w", libver=_LIBRARY_VERSIONS) as file:
            yield file
    except (OSError, RuntimeError) as error:  # h5py raises either, depending on when the write fails
        raise DemonstrationWriteError(path, str(error)) from error


def _chunk_starts(shape: tuple[int, ...], chunks: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    return product(*(range(0, size, step) for size, step in zip(shape, chunks, strict=True)))


def _padded_chunk(values: NDArray[Any], start: tuple[int, ...], chunks: tuple[int, ...]) -> NDArray[Any]:
    """Return one chunk of `values`, padded with zeros beyond their end."""
    part = values[tuple(slice(first, first + size) for first, size in zip(start, chunks, strict=True))]
    if part.shape == chunks:
        return np.ascontiguousarray(part)
    whole = np.zeros(chunks, dtype=values.dtype)
    whole[tuple(slice(size) for size in part.shape)] = part
    return whole
