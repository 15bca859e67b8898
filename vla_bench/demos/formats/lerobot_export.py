"""Exporter to LeRobot v3.0 dataset folders with videos."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.errors import MissingExtraError, VlaBenchError
from vla_bench.core.types import ImageArray
from vla_bench.demos.formats import exporters
from vla_bench.demos.sources import DemonstrationSource, EpisodeFacts

_SUCCESS_KEY = "next.success"
_FILE = "chunk-000/file-000"
_ACTION_NAMES = ["x", "y", "z", "axis_angle_x", "axis_angle_y", "axis_angle_z", "gripper"]
_ENCODING = {
    "g": "2",
    "crf": "18",
}  # every second frame is a key frame, as in LeRobot, for random access
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


@exporters.named("lerobot")
def export_lerobot(source: DemonstrationSource, folder: Path) -> Path:
    """Write all episodes into `folder`, which must not exist, and return it.

    The gripper keeps our convention (-1 open, +1 close: `close_positive` when the folder is read again). The components
    of the state are named `field.number`. `next.success` is written where the source knows which episodes succeeded.
    The images of each camera are one H.264 video.
    """
    if folder.exists():
        raise VlaBenchError(f"The folder {folder} exists already. Choose another one.")
    source.require()
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        _write_tables(source, temporary)
        for camera in source.facts.cameras:
            _write_video(source, camera, temporary / f"videos/observation.images.{camera}/{_FILE}.mp4")
        (temporary / "meta" / "info.json").write_text(json.dumps(_info(source), indent=4) + "\n")
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _write_tables(source: DemonstrationSource, folder: Path) -> None:
    try:
        import pyarrow as arrow  # type: ignore[import-untyped]
        import pyarrow.parquet as parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("Writing LeRobot datasets", f"pyarrow ({error})", "lerobot") from error
    tasks = list(dict.fromkeys(episode.instruction for episode in source.episodes))
    columns = _columns(source, tasks)
    for part in ("meta/episodes/chunk-000", "data/chunk-000"):
        (folder / part).mkdir(parents=True)
    data = {name: list(values) for name, values in columns.items()}
    parquet.write_table(arrow.Table.from_pydict(data), folder / f"data/{_FILE}.parquet")
    parquet.write_table(arrow.Table.from_pylist(_episode_records(source)), folder / f"meta/episodes/{_FILE}.parquet")
    _write_tasks(tasks, folder / "meta" / "tasks.parquet")
    statistics = {name: _statistics(values) for name, values in columns.items()}
    (folder / "meta" / "stats.json").write_text(json.dumps(statistics, indent=4) + "\n")


def _columns(source: DemonstrationSource, tasks: Sequence[str]) -> dict[str, NDArray[Any]]:
    fields = [field.name for field in source.facts.proprioception_fields]
    lengths = [episode.steps for episode in source.episodes]
    frame = np.concatenate([np.arange(length) for length in lengths])
    columns = {
        "observation.state": np.concatenate([source.proprioception(one.name, fields) for one in source.episodes]),
        "action": np.concatenate([source.actions(one.name) for one in source.episodes]),
        "timestamp": (frame / source.facts.control_hz).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.repeat(np.arange(len(lengths)), lengths),
        "index": np.arange(len(frame)),
        "task_index": np.repeat([tasks.index(one.instruction) for one in source.episodes], lengths),
    }
    if _has_success_labels(source):  # true at the last step of an episode that succeeded
        last = np.cumsum(lengths) - 1
        columns[_SUCCESS_KEY] = np.zeros(len(frame), dtype=bool)
        columns[_SUCCESS_KEY][last] = [one.success for one in source.episodes]
    return columns


def _has_success_labels(source: DemonstrationSource) -> bool:
    return all(one.success is not None for one in source.episodes)


def _episode_records(source: DemonstrationSource) -> list[dict[str, Any]]:
    rows, start = [], 0
    for number, episode in enumerate(source.episodes):
        end = start + episode.steps
        row = {"episode_index": number, "tasks": [episode.instruction], "length": episode.steps}
        row |= {"data/chunk_index": 0, "data/file_index": 0, "dataset_from_index": start, "dataset_to_index": end}
        row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        for camera in source.facts.cameras:
            key, hz = f"videos/observation.images.{camera}", source.facts.control_hz
            row |= {f"{key}/chunk_index": 0, f"{key}/file_index": 0}
            row |= {f"{key}/from_timestamp": start / hz, f"{key}/to_timestamp": end / hz}
        rows.append(row)
        start = end
    return rows


def _write_tasks(tasks: Sequence[str], path: Path) -> None:
    import pandas as pd

    index = pd.Index(list(tasks), name="task")
    pd.DataFrame({"task_index": range(len(tasks))}, index=index).to_parquet(path)


def _statistics(values: NDArray[Any]) -> Mapping[str, list[float]]:
    data = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    found = {"min": data.min(0), "max": data.max(0), "mean": data.mean(0), "std": data.std(0)}
    found |= {name: np.quantile(data, quantile, axis=0) for name, quantile in _QUANTILES.items()}
    return {**{name: row.tolist() for name, row in found.items()}, "count": [len(data)]}


def _info(source: DemonstrationSource) -> dict[str, Any]:
    facts = source.facts
    names = [f"{field.name}.{number}" for field in facts.proprioception_fields for number in range(field.size)]
    scalars = dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64")
    return {
        "codebase_version": "v3.0",
        "robot_type": None,
        "total_episodes": len(source.episodes),
        "total_frames": sum(episode.steps for episode in source.episodes),
        "total_tasks": len({episode.instruction for episode in source.episodes}),
        "chunks_size": 1000,
        "fps": facts.control_hz,
        "splits": {"train": f"0:{len(source.episodes)}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {
            **{f"observation.images.{camera}": _video_feature(source, camera) for camera in facts.cameras},
            "observation.state": {"dtype": "float32", "shape": [len(names)], "names": names},
            "action": {"dtype": "float32", "shape": [len(_ACTION_NAMES)], "names": _ACTION_NAMES},
            "timestamp": {"dtype": "float32", "shape": [1], "names": None},
            **{name: {"dtype": kind, "shape": [1], "names": None} for name, kind in scalars.items()},
            **({_SUCCESS_KEY: {"dtype": "bool", "shape": [1], "names": None}} if _has_success_labels(source) else {}),
        },
    }


def _video_feature(source: DemonstrationSource, camera: str) -> dict[str, Any]:
    size = _size(source, camera)
    video = {"video.fps": source.facts.control_hz, "video.codec": "h264", "has_audio": False}
    video["video.pix_fmt"] = _pixel_format(size)
    return {"dtype": "video", "shape": [*size, 3], "names": ["height", "width", "channels"], "info": video}


def _size(source: DemonstrationSource, camera: str) -> tuple[int, int]:
    """Return height and width of one camera's images [pixels]; cameras may differ."""
    _, height, width, _ = source.images(source.episodes[0].name, camera, np.zeros(1, dtype=np.int64)).shape
    return height, width


def _pixel_format(size: tuple[int, int]) -> str:
    """Return LeRobot's usual pixel format; for odd sizes one without chroma subsampling, which needs even sizes."""
    return "yuv444p" if any(side % 2 for side in size) else "yuv420p"


def _write_video(source: DemonstrationSource, camera: str, path: Path) -> None:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("Writing LeRobot videos", f"av ({error})", "lerobot") from error
    hz = source.facts.control_hz
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=hz, options=_ENCODING)
        size = _size(source, camera)
        stream.height, stream.width = size
        stream.pix_fmt, stream.time_base = _pixel_format(size), Fraction(1, hz)
        for episode in source.episodes:
            for image in _images(source, episode, camera):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def _images(source: DemonstrationSource, episode: EpisodeFacts, camera: str) -> ImageArray:
    return source.images(episode.name, camera, np.arange(episode.steps))
