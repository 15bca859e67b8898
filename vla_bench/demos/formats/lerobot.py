"""Reader of LeRobot dataset folders (version 3), with exact video frame access.

A parquet file and a video hold many episodes each. LeRobot states neither the meaning of an action nor the direction of
the gripper, so the user must: `gripper` always, and the fields of the state vector unless their names state them.
"""

import io
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.conventions import turned
from vla_bench.core.errors import ConventionError, DemonstrationFileError, MissingExtraError
from vla_bench.core.types import ImageArray, ProprioceptionField
from vla_bench.demos.hdf5 import SourceCandidate
from vla_bench.demos.header import ACTION_CONVENTION
from vla_bench.demos.sources import (
    FORMATS,
    DemonstrationSource,
    EpisodeFacts,
    SourceFacts,
    SourceOptions,
    map_camera_names,
    panda_hand_to_grip_site_axis_angle,
)

_MAX_FRAMES_TO_DECODE_AHEAD = 12  # a frame at most this far ahead is decoded up to, a later one is sought


class VideoReader:
    """An open video whose frames are read by time. Not thread-safe."""

    def __init__(self, path: Path, fps: float) -> None:
        try:
            import av
        except ImportError as error:
            raise MissingExtraError("Reading LeRobot videos", f"av ({error})", "lerobot") from error
        self._path, self._fps = path, fps
        try:
            self._container = av.open(str(path))
            self._stream: Any = self._container.streams.video[0]
        except (OSError, IndexError, ValueError) as error:
            raise DemonstrationFileError(path, f"cannot be opened as a video ({error})") from error
        self._decoded: Any = None
        self._last: Any = None  # the frame decoded last

    def frames(self, times_s: NDArray[np.float64]) -> ImageArray:
        """Return the frames shown at these times [s], in any order, (len(times_s), H, W, 3)."""
        found: dict[int, NDArray[np.uint8]] = {}
        numbers = np.rint(np.asarray(times_s) * self._fps).astype(np.int64)
        for number in np.unique(numbers):
            found[int(number)] = self._frame(int(number))
        return np.stack([found[int(number)] for number in numbers])

    def close(self) -> None:
        """Close the video."""
        self._container.close()

    def _frame(self, number: int) -> NDArray[np.uint8]:
        """Return a frame by its number, counted from time 0."""
        at = None if self._last is None else self._number(self._last)
        if at is None or not at <= number <= at + _MAX_FRAMES_TO_DECODE_AHEAD:
            self._seek(number)
        while self._last is None or self._number(self._last) < number:
            self._last = next(self._decoded, None)
            if self._last is None:
                raise DemonstrationFileError(self._path, f"the video ends before {number / self._fps:.3f} s")
        if (there := self._number(self._last)) != number:
            problem = f"no frame at {number / self._fps:.3f} s (the next is at {there / self._fps:.3f} s)"
            raise DemonstrationFileError(self._path, problem)
        image: NDArray[np.uint8] = self._last.to_ndarray(format="rgb24")
        return image

    def _seek(self, number: int) -> None:
        """Seek to the last key frame at or before a frame."""
        time_base = float(self._stream.time_base)
        self._container.seek(int(number / self._fps / time_base), stream=self._stream, backward=True)
        self._decoded, self._last = self._container.decode(self._stream), None

    def _number(self, frame: Any) -> int:
        return round(float(frame.pts * frame.time_base) * self._fps)


_MAJOR_VERSION = "v3"
_IMAGE_PREFIXES = ("observation.images.", "observation.")
_USUAL_CAMERAS = {"image": "agentview", "image2": "wrist", "wrist_image": "wrist", "top": "agentview"}
_ACTION_KEYS, _STATE_KEYS = ("action", "actions"), ("observation.state", "state")
_TABLES_IN_MEMORY = 4
# The state of LeRobot's LIBERO environment and datasets; the orientation is that of the hand body.
_HAND_FIELD, _GRIP_SITE_FIELD = "hand_axis_angle", "end_effector_axis_angle"
_LIBERO_STATE = (("end_effector_position", 3), (_HAND_FIELD, 3), ("gripper_position", 2))
_LIBERO_NAMES = ("x", "y", "z")
_JOINT_NAME = re.compile(r"joint|shoulder|elbow|wrist_(flex|roll)|waist|motor_\d", re.IGNORECASE)


@FORMATS.named("lerobot")
class LerobotSource(DemonstrationSource):
    """Source of a dataset folder with `meta`, `data` and, where images are videos, `videos`."""

    def __init__(self, path: Path, options: SourceOptions) -> None:
        self.path = path
        self._options = options
        self._info = self._read_info()
        self._features: dict[str, Any] = self._info.get("features", {})
        self._action_key = self._key_among(_ACTION_KEYS)
        self._state_key = next((key for key in _STATE_KEYS if key in self._features), None)
        self._table = lru_cache(maxsize=_TABLES_IN_MEMORY)(self._read_table)
        self._videos: dict[Path, VideoReader] = {}
        self._rows = self._read_episodes()
        self._state = self._state_fields()
        self.facts = self._facts()
        self.episodes = tuple(self._episode(row) for row in self._rows.values())

    @classmethod
    def recognizes(cls, candidate: SourceCandidate) -> bool:
        """Return whether the folder has LeRobot's `meta/info.json`."""
        return (candidate.path / "meta" / "info.json").is_file()

    def stored_actions(self, name: str) -> NDArray[np.float32]:
        """Return the column of actions."""
        return self._column(name, self._action_key)

    def stored_field(self, name: str, field: str) -> NDArray[np.float32]:
        """Return one span of the state vector."""
        assert self._state_key is not None
        state = self._column(name, self._state_key)
        if field in self._state:
            return state[:, self._state[field]]
        return panda_hand_to_grip_site_axis_angle(state[:, self._state[_HAND_FIELD]])

    def images(self, name: str, camera: str, steps: NDArray[np.int64]) -> ImageArray:
        """Return frames of the video, or images of the table."""
        key = self.facts.cameras[camera]
        row = self._rows[name]
        if self._features[key]["dtype"] == "image":
            images = self._images_of_table(name, key, steps)
        else:
            reader = self._video(key, row)
            first = float(row[f"videos/{key}/from_timestamp"])
            images = reader.frames(first + steps / float(self._info["fps"]))
        return turned(images, self.facts.orientation)

    def close(self) -> None:
        """Close the videos."""
        for reader in self._videos.values():
            reader.close()
        self._videos.clear()

    def _read_info(self) -> dict[str, Any]:
        path = self.path / "meta" / "info.json"
        try:
            info: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise self.fault(f"meta/info.json cannot be read ({error})") from error
        version = str(info.get("codebase_version", ""))
        if not version.startswith(_MAJOR_VERSION):
            raise self.fault(
                f"a LeRobot dataset of version {version or 'unknown'}; this reads v3.0. Convert it with LeRobot: "
                "`python -m lerobot.scripts.convert_dataset_v21_to_v30 --repo-id=<user>/<dataset>`"
            )
        if missing := [key for key in ("fps", "features", "data_path") if key not in info]:
            raise self.fault(f"meta/info.json lacks {', '.join(missing)}")
        return info

    def _read_episodes(self) -> dict[str, dict[str, Any]]:
        files = sorted((self.path / "meta" / "episodes").glob("*/*.parquet"))
        if not files:
            raise self.fault("the folder lacks meta/episodes/chunk-000/file-000.parquet")
        rows = []
        for file in files:
            table = _read_parquet(file)
            wanted = [name for name in table.column_names if not name.startswith("stats/")]
            rows += table.select(wanted).to_pylist()
        rows.sort(key=lambda row: int(row["episode_index"]))
        return {f"episode_{row['episode_index']}": row for row in rows}

    def _facts(self) -> SourceFacts:
        self._require_delta_names()
        keys = [key for key, feature in self._features.items() if feature.get("dtype") in ("image", "video")]
        if not keys:
            raise self.fault(f"there are no images in it; its features are {', '.join(self._features)}")
        usual = {key: _USUAL_CAMERAS.get(_short_camera_name(key), _short_camera_name(key)) for key in keys}
        fields = tuple(
            ProprioceptionField(name, span.stop - span.start, "as stated by the dataset")
            for name, span in self._state.items()
        )
        if _HAND_FIELD in self._state and _GRIP_SITE_FIELD not in self._state:
            fields += (ProprioceptionField(_GRIP_SITE_FIELD, 3, "converted from the hand body, for a Panda"),)
        return SourceFacts(
            format="lerobot",
            cameras=map_camera_names(self.path, keys, usual, self._options.cameras),
            image_size=_height_and_width(self._features[keys[0]]),
            proprioception_fields=fields,
            control_hz=self._options.control_hz or int(self._info["fps"]),
            action_convention=ACTION_CONVENTION,
            gripper=self._options.gripper,
            orientation=self._options.orientation or "upright",
        )

    def _require_delta_names(self) -> None:
        joints = [name for name in _names_of(self._features[self._action_key]) if _JOINT_NAME.search(name)]
        if joints:
            raise ConventionError(
                f"{self.path}: actions are joint commands ({', '.join(joints[:3])}, ...); "
                "expected end-effector deltas: position (3), axis-angle (3), gripper."
            )

    def _state_fields(self) -> dict[str, slice]:
        """Return field -> columns of the state vector."""
        if self._state_key is None:
            return {}
        feature = self._features[self._state_key]
        size, names = int(feature["shape"][0]), _names_of(feature)
        fields = self._options.state or _fields_from_names(names, size)
        if sum(length for _, length in fields) > size:
            raise self.fault(f"{self._state_key} has {size} numbers, but the fields stated for it have more")
        spans, start = {}, 0
        for name, length in fields:
            spans[name] = slice(start, start + length)
            start += length
        return spans

    def _episode(self, row: dict[str, Any]) -> EpisodeFacts:
        tasks = row.get("tasks") or []
        instruction = self._options.instruction or (str(tasks[0]) if tasks else "")
        name = f"episode_{row['episode_index']}"
        task = re.sub(r"\W+", "_", str(tasks[0]).lower()).strip("_") if tasks else self.path.name
        return EpisodeFacts(name, instruction, int(row["length"]), self.path.name, task, self._success(name))

    def _success(self, name: str) -> bool | None:
        if "next.success" not in self._features:
            return None
        return bool(self._column(name, "next.success").any())

    def _column(self, name: str, key: str) -> NDArray[np.float32]:
        table = self._episode_table(name)
        parts = [chunk.flatten() if hasattr(chunk, "flatten") else chunk for chunk in table.column(key).chunks]
        values = np.concatenate([np.asarray(part.to_numpy(zero_copy_only=False), dtype=np.float32) for part in parts])
        return values.reshape(len(table), -1)

    def _episode_table(self, name: str) -> Any:
        """Return the rows of one episode, found by its index: `meta/episodes` counts rows over the whole dataset."""
        row = self._rows[name]
        table = self._table(int(row["data/chunk_index"]), int(row["data/file_index"]))
        numbers = np.asarray(table.column("episode_index").to_numpy())
        here = np.flatnonzero(numbers == row["episode_index"])
        if len(here) != row["length"] or (len(here) and here[-1] - here[0] + 1 != len(here)):
            raise self.fault(f"{name} has {len(here)} rows of data, but meta/episodes says {row['length']}")
        return table.slice(int(here[0]), len(here))

    def _read_table(self, chunk: int, file: int) -> Any:
        return _read_parquet(self.path / self._info["data_path"].format(chunk_index=chunk, file_index=file))

    def _images_of_table(self, name: str, key: str, steps: NDArray[np.int64]) -> ImageArray:
        from PIL import Image

        column = self._episode_table(name).column(key)
        images = []
        for step in steps:
            cell = column[int(step)].as_py()
            content = cell["bytes"] or (self.path / cell["path"]).read_bytes()
            images.append(np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))
        return np.stack(images)

    def _video(self, key: str, row: dict[str, Any]) -> VideoReader:
        chunk, file = int(row[f"videos/{key}/chunk_index"]), int(row[f"videos/{key}/file_index"])
        path = self.path / self._info["video_path"].format(video_key=key, chunk_index=chunk, file_index=file)
        if path not in self._videos:
            self._videos[path] = VideoReader(path, float(self._info["fps"]))
        return self._videos[path]

    def _key_among(self, keys: tuple[str, ...]) -> str:
        found = next((key for key in keys if key in self._features), None)
        if found is None:
            raise self.fault(f"no feature {' or '.join(keys)}; it has {', '.join(self._features)}")
        return found


def _read_parquet(path: Path) -> Any:
    try:
        import pyarrow.parquet as parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("Reading LeRobot datasets", f"pyarrow ({error})", "lerobot") from error
    try:
        return parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise DemonstrationFileError(path, f"cannot be read as parquet ({error})") from error


def _short_camera_name(key: str) -> str:
    prefix = next((prefix for prefix in _IMAGE_PREFIXES if key.startswith(prefix)), "")
    return key.removeprefix(prefix)


def _names_of(feature: dict[str, Any]) -> list[str]:
    """Return the names of a vector's components, which LeRobot stores as a list or as a dictionary of lists."""
    names = feature.get("names") or []
    if isinstance(names, dict):
        names = [name for part in names.values() for name in (part if isinstance(part, list) else [part])]
    return [str(name) for name in names]


def _fields_from_names(names: list[str], size: int) -> tuple[tuple[str, int], ...]:
    """Return (field, size) by the names `field.0, field.1, ...` that our exporter writes, or of LIBERO's state."""
    if size == sum(length for _, length in _LIBERO_STATE) and tuple(names[:3]) == _LIBERO_NAMES:
        return _LIBERO_STATE
    fields: dict[str, int] = {}
    for name in names:
        stem = name.rpartition(".")[0]
        if not stem:
            return (("state", size),)
        fields[stem] = fields.get(stem, 0) + 1
    return tuple(fields.items()) or (("state", size),)


def _height_and_width(feature: dict[str, Any]) -> tuple[int, int]:
    shape, names = [int(size) for size in feature["shape"]], feature.get("names") or []
    channels_first = shape[0] == 3 and (not isinstance(names, list) or names[:1] != ["height"])
    return (shape[1], shape[2]) if channels_first else (shape[0], shape[1])
