"""Reader of demonstration files (robomimic-compatible HDF5)."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.errors import DemonstrationFileError
from vla_bench.core.files import Closing
from vla_bench.core.types import ACTION_DIM, ImageArray
from vla_bench.demos.demonstration import NOMINAL, CameraTrack, Demonstration, DemonstrationSummary
from vla_bench.demos.hdf5 import damage_reported, episode_number, open_hdf5, read_images
from vla_bench.demos.header import FileHeader

_ARRAYS = ("actions", "executed_actions", "rewards", "dones", "states", "phases")
_Arguments = ParamSpec("_Arguments")
_Read = TypeVar("_Read")


def _reading(
    method: "Callable[Concatenate[DemonstrationFile, _Arguments], _Read]",
) -> "Callable[Concatenate[DemonstrationFile, _Arguments], _Read]":
    """Return a method that raises `DemonstrationFileError` for damaged metadata."""

    @wraps(method)
    def guarded(self: "DemonstrationFile", /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Read:
        with damage_reported(self.path):
            return method(self, *args, **kwargs)

    return guarded


class DemonstrationFile(Closing):
    """An open demonstration file, to be used as a context manager; damage raises `DemonstrationFileError`."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._file = open_hdf5(self.path)
        self._models: dict[str, str] = {}
        try:
            with damage_reported(self.path):
                self._data = self._group("data")
                self.header = FileHeader.from_attributes(self.path, dict(self._data.attrs))
                self.names: tuple[str, ...] = tuple(sorted(self._data, key=episode_number))  # demo_2 before demo_10
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Demonstration]:
        return (self.read(name) for name in self.names)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @_reading
    def summary(self, name: str) -> DemonstrationSummary:
        """Return the attributes of one demonstration."""
        try:
            summary = DemonstrationSummary.from_attributes(self._attributes(name))
        except KeyError as error:
            raise self._fault(f"{name} lacks the attribute {error}") from error
        if summary.steps < 1:
            raise self._fault(f"{name} has no steps: leave it out of the file")
        return summary

    @_reading
    def read(self, name: str, cameras: Sequence[str] | None = None) -> Demonstration:
        """Return one demonstration with the images of `cameras` (default: all; `()` for none, which is fast)."""
        summary = self.summary(name)
        chosen = self._known_cameras(self.header.cameras if cameras is None else cameras)
        arrays = {array: self._array(name, array, summary.steps) for array in _ARRAYS}
        if arrays["actions"].shape[1:] != (self.header.action_dim,):
            shape = arrays["actions"].shape
            raise self._fault(f"{name}/actions has shape {shape}, expected (T, {self.header.action_dim})")
        depth = chosen if self.header.depth else ()
        segments = chosen if self.header.segmentation else ()
        return Demonstration(
            identity=summary.identity,
            instruction=summary.instruction,
            success=summary.success,
            scene_seed=summary.scene_seed,
            scene_hash=summary.scene_hash,
            images={camera: self._array(name, f"obs/{camera}_image", summary.steps) for camera in chosen},
            depth={camera: self._array(name, f"obs/{camera}_depth", summary.steps) for camera in depth},
            proprioception=self.proprioception(name),
            actions=arrays["actions"],
            executed_actions=arrays["executed_actions"],
            rewards=arrays["rewards"],
            dones=arrays["dones"].astype(bool),
            states=arrays["states"],
            phases=tuple(summary.phase_names[number] for number in arrays["phases"]),
            labels=self._labels(name, summary.steps),
            model_xml=self.model_xml(name),
            segmentation={
                camera: self._array(name, f"obs/{camera}_segmentation", summary.steps) for camera in segments
            },
            segment_names=summary.segment_names,
            cameras=self._tracks(name, summary.steps),
            step_numbers=self._array(name, "step_numbers", summary.steps) if self._has(name, "step_numbers") else None,
            device=summary.device,
            judged_by=summary.judged_by,
        )

    @_reading
    def array(self, name: str, key: str) -> NDArray[Any]:
        """Return one whole array of a demonstration, such as `actions`."""
        return self._array(name, key, self.summary(name).steps)

    @_reading
    def images(self, name: str, camera: str, steps: NDArray[np.int64]) -> ImageArray:
        """Return one camera's images at these steps, in any order, (len(steps), H, W, 3)."""
        return read_images(self.path, self._dataset(name, f"obs/{camera}_image"), steps, self.summary(name).steps)

    @_reading
    def proprioception(self, name: str) -> NDArray[Any]:
        """Return the proprioception of a demonstration, (T, P), with the fields that the header names."""
        found, size = self.array(name, "obs/proprioception"), self.header.proprioception_size
        if found.shape[1:] != (size,):
            raise self._fault(
                f"{name}/obs/proprioception has shape {found.shape}, but the fields in the header have {size} numbers"
            )
        return found

    @_reading
    def frame(self, name: str, step: int, cameras: Sequence[str] | None = None) -> dict[str, ImageArray]:
        """Return the images of one step, camera name -> (H, W, 3); other steps are not read."""
        chosen = self._known_cameras(self.header.cameras if cameras is None else cameras)
        return {camera: self._part(name, f"obs/{camera}_image", step) for camera in chosen}

    @_reading
    def masks(self) -> tuple[str, ...]:
        """Return the names of the subsets that the file defines: `train`, `valid`, one for each task."""
        return tuple(sorted(self._file["mask"])) if "mask" in self._file else ()

    @_reading
    def mask(self, subset: str) -> tuple[str, ...]:
        """Return the demonstrations of one subset, in order."""
        if subset not in self.masks():
            raise self._fault(f"no subset {subset!r}; it has {', '.join(self.masks()) or 'none'}")
        members = sorted((name.decode() for name in self._file[f"mask/{subset}"][:]), key=episode_number)
        if missing := [name for name in members if name not in self.names]:
            raise self._fault(f"the subset {subset!r} names {missing[0]}, which is not in the file")
        return tuple(members)

    @_reading
    def require(
        self, *, cameras: Iterable[str] = (), proprioception: Iterable[str] = (), action_dim: int = ACTION_DIM
    ) -> None:
        """Raise `DemonstrationFileError` unless the file has these cameras, proprioception fields and action size."""
        self._known_cameras(tuple(cameras))
        fields = [field.name for field in self.header.proprioception_fields]
        if missing := [field for field in proprioception if field not in fields]:
            raise self._fault(f"no proprioception field {', '.join(missing)}; it has {', '.join(fields)}")
        if not self.names:
            raise self._fault("there is no demonstration in it")
        for name in self.names:
            shape = self._dataset(name, "actions").shape
            if shape[1:] != (action_dim,):
                raise self._fault(f"{name}/actions has shape {shape}, expected (T, {action_dim})")

    @_reading
    def model_xml(self, name: str) -> str:
        """Return the MJCF of the model that a demonstration was recorded in."""
        key = str(self._attributes(name).get("model_file", ""))
        if key not in self._models:
            if key not in self._file:
                raise self._fault(f"{name} lacks its model {key!r}")
            self._models[key] = self._file[key][:].tobytes().decode()
        return self._models[key]

    @_reading
    def fingerprint(self) -> str:
        """Return a short digest of the demonstrations in the file; images are not read."""
        digest = hashlib.sha256()
        for name in self.names:
            digest.update(f"{name} {self.summary(name)!r}".encode())
            digest.update(self._part(name, "executed_actions", slice(None)).tobytes())
        return digest.hexdigest()[:16]

    @_reading
    def stored_bytes(self) -> dict[str, int]:
        """Return how many bytes each kind of array takes on disk, over all demonstrations."""
        sizes: dict[str, int] = {}
        for name in self.names:
            group = self._data[name]
            folders = [key for key in group if isinstance(group[key], h5py.Group)]
            within = [f"{folder}/{key}" for folder in folders for key in group[folder]]
            for key in (*within, *(key for key in group if key not in folders)):
                sizes[key] = sizes.get(key, 0) + int(group[key].id.get_storage_size())
        return sizes

    def _known_cameras(self, cameras: Sequence[str]) -> tuple[str, ...]:
        if missing := [camera for camera in cameras if camera not in self.header.cameras]:
            known = ", ".join(self.header.cameras)
            raise self._fault(f"no images of camera {', '.join(missing)}; it has {known}")
        return tuple(cameras)

    def _attributes(self, name: str) -> dict[str, Any]:
        self._require_known(name)
        return dict(self._data[name].attrs)

    def _require_known(self, name: str) -> None:
        if name not in self.names:
            span = f"{self.names[0]} to {self.names[-1]}" if self.names else "none"
            raise self._fault(f"no demonstration {name!r}; it has {span}")

    def _labels(self, name: str, steps: int) -> tuple[str, ...]:
        """Return the label of each step; in older files without labels, every step is nominal."""
        if not self._has(name, "labels"):
            return (NOMINAL,) * steps
        names = json.loads(self._attributes(name).get("label_names", "[]"))
        return tuple(names[number] for number in self._array(name, "labels", steps))

    def _tracks(self, name: str, steps: int) -> dict[str, CameraTrack]:
        """Return the poses of each camera; older files hold none."""
        tracks = {}
        for camera in self._data[name].get("cameras", ()):
            dataset = self._dataset(name, f"cameras/{camera}")
            if dataset.shape not in ((4, 4), (steps, 4, 4)):
                raise self._fault(f"{name}/cameras/{camera} has shape {dataset.shape}, expected (T, 4, 4) or (4, 4)")
            tracks[camera] = CameraTrack(np.asarray(dataset.attrs["intrinsics"]), np.asarray(dataset[()]))
        return tracks

    def _has(self, name: str, key: str) -> bool:
        return key in self._data[name]

    def _array(self, name: str, key: str, steps: int) -> NDArray[Any]:
        shape = self._dataset(name, key).shape
        if shape[:1] != (steps,):
            raise self._fault(f"{name}/{key} has {shape[0] if shape else 'no'} steps, but num_samples is {steps}")
        return self._part(name, key, slice(None))

    def _part(self, name: str, key: str, which: int | slice) -> NDArray[Any]:
        dataset = self._dataset(name, key)
        try:
            return np.asarray(dataset[which])
        except OSError as error:
            raise self._fault(f"{name}/{key} is damaged and cannot be read ({error})") from error

    def _dataset(self, name: str, key: str) -> Any:
        found = self._data[name].get(key)
        if not isinstance(found, h5py.Dataset):
            raise self._fault(f"{name} lacks the dataset {key}")
        return found

    def _group(self, key: str) -> Any:
        found = self._file.get(key)
        if not isinstance(found, h5py.Group):
            top = ", ".join(self._file) or "nothing"
            raise self._fault(f"this HDF5 file holds no demonstrations: expected a group `{key}`, found {top}")
        return found

    def _fault(self, problem: str) -> DemonstrationFileError:
        return DemonstrationFileError(self.path, problem)
