"""Demonstrations of any known format behind one interface, in our conventions."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.closing import Closing
from vla_bench.core.conventions import GripperConvention, Orientation, gripper_to_close_positive
from vla_bench.core.errors import ConventionError, DemonstrationFileError
from vla_bench.core.registry import Registry
from vla_bench.core.types import ACTION_DIM, ImageArray, ProprioceptionField
from vla_bench.demos.conversions import gripper_problem

_LARGEST_ACTION = 1.0 + 1e-3  # robomimic refuses data beyond it, too


@dataclass(frozen=True)
class SourceOptions:
    """What the user says about a source, where the source does not say it or says it wrongly."""

    instruction: str | None = None  # of every episode
    gripper: GripperConvention | None = None
    orientation: Orientation | None = None  # of the stored images
    control_hz: int | None = None
    cameras: Mapping[str, str] = field(default_factory=dict)  # our name -> the source's key
    state: tuple[tuple[str, int], ...] = ()  # fields, in order, of a state vector whose parts have no names


@dataclass(frozen=True)
class SourceFacts:
    """What holds for every episode of a source."""

    format: str
    cameras: Mapping[str, str]  # our name -> the source's key
    image_size: tuple[int, int]  # height and width [pixels]; of the first camera
    proprioception_fields: tuple[ProprioceptionField, ...]  # in our conventions
    control_hz: int
    action_convention: str
    gripper: GripperConvention | None  # as stored, what is read is ours; None where nothing says it
    orientation: Orientation  # as stored; what is read is upright
    robot: str | None = None  # whose actions; None where nothing says it


@dataclass(frozen=True)
class EpisodeFacts:
    """What is known about an episode without reading its arrays."""

    name: str
    instruction: str  # empty where nothing says it
    steps: int
    suite: str
    task: str
    success: bool | None = None  # None where the source does not say

    @property
    def task_id(self) -> str:
        """`suite.task`."""
        return f"{self.suite}.{self.task}"


class DemonstrationSource(Closing):
    """An open source of demonstrations; use it as a context manager. What it returns is in our conventions.

    Faults raise `DemonstrationFileError`, other conventions `ConventionError`.
    """

    may_exceed_one: ClassVar[bool] = False  # actions of the arm, which then are clipped where they are executed
    path: Path
    facts: SourceFacts
    episodes: tuple[EpisodeFacts, ...]

    @classmethod
    @abstractmethod
    def recognises(cls, path: Path) -> bool:
        """Return whether `path` is of this format; a fault in the file is no reason to raise here."""

    @abstractmethod
    def __init__(self, path: Path, options: SourceOptions) -> None:
        """Open the source and read what holds for all episodes."""

    @abstractmethod
    def stored_actions(self, name: str) -> NDArray[np.float32]:
        """Return the actions of an episode as they are stored, (T, D)."""

    @abstractmethod
    def stored_field(self, name: str, field: str) -> NDArray[np.float32]:
        """Return one proprioception field of an episode, (T, size), in our convention."""

    @abstractmethod
    def images(self, name: str, camera: str, steps: NDArray[np.int64]) -> ImageArray:
        """Return the images of the given steps, (len(steps), H, W, 3), right side up, reading no more than needed."""

    def subset(self, subset: str) -> tuple[str, ...] | None:
        """Return the episodes of a subset that the source defines; None where it defines no such subset."""
        return None

    def step_words(self, name: str) -> tuple[str, ...] | None:
        """Return what is said of each step of an episode, such as its phase; None where nothing is."""
        return None

    def actions(self, name: str) -> NDArray[np.float32]:
        """Return the actions of an episode, (T, 7), -1 open and +1 close."""
        actions = self.stored_actions(name)
        if actions.ndim != 2 or actions.shape[1] != ACTION_DIM:
            raise self.fault(f"{name}: actions have shape {actions.shape}, expected (T, {ACTION_DIM})")
        self._require_finite(name, "actions", actions)
        gripper = gripper_to_close_positive(actions[:, -1:], self._gripper())
        converted: NDArray[np.float32] = np.concatenate([actions[:, :-1], gripper], axis=1).astype(np.float32)
        return converted

    def proprioception(self, name: str, fields: Sequence[str]) -> NDArray[np.float32]:
        """Return the named fields of an episode beside each other, (T, P)."""
        steps = next(episode.steps for episode in self.episodes if episode.name == name)
        columns = [np.empty((steps, 0), dtype=np.float32)]
        for name_of_field in fields:
            values = self.stored_field(name, name_of_field)
            self._require_finite(name, f"proprioception field {name_of_field}", values)
            columns.append(values)
        return np.concatenate(columns, axis=1)

    def require(self, *, cameras: Iterable[str] = (), proprioception: Iterable[str] = ()) -> None:
        """Raise unless the source has episodes with these cameras and proprioception fields, and says what they are."""
        if missing := [camera for camera in cameras if camera not in self.facts.cameras]:
            raise self.fault(f"no images of camera {', '.join(missing)}; it has {self._cameras_shown()}")
        fields = [field.name for field in self.facts.proprioception_fields]
        if unknown := [field for field in proprioception if field not in fields]:
            raise self.fault(f"no proprioception field {', '.join(unknown)}; it has {', '.join(fields) or 'none'}")
        if not self.episodes:
            raise self.fault("there is no demonstration in it")
        if silent := [episode.name for episode in self.episodes if not episode.instruction]:
            problem = f"nothing says what the robot was told to do in {silent[0]}"
            raise self.fault(f"{problem}: give the instruction (`--instruction`)")
        self._gripper()

    def require_conventional_actions(self, actions: NDArray[np.float32], gripper: NDArray[np.float32]) -> None:
        """Raise `ConventionError` where an arm's actions or the stored gripper commands of a source cannot be right."""
        if (
            not self.may_exceed_one
            and actions.size
            and (largest := float(np.abs(actions[:, : ACTION_DIM - 1]).max())) > _LARGEST_ACTION
        ):
            raise ConventionError(
                f"{self.path}: actions reach {largest:g}; expected end-effector deltas scaled to -1..1, "
                "as robosuite's OSC_POSE controller takes them."
            )
        if problem := gripper_problem(gripper, self._gripper()):
            raise ConventionError(f"{self.path}: {problem}. State the right one (`--gripper`).")

    def fault(self, problem: str) -> DemonstrationFileError:
        """Return an error about this source."""
        return DemonstrationFileError(self.path, problem)

    def _gripper(self) -> GripperConvention:
        if self.facts.gripper is None:
            raise ConventionError(
                f"{self.path}: nothing says which way the gripper closes. State it (`--gripper`): "
                "close_positive (-1 open, +1 close), open_positive, close_one (0 open, 1 close) or open_one."
            )
        return self.facts.gripper

    def _require_finite(self, name: str, what: str, values: NDArray[np.float32]) -> None:
        rows = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(rows):
            raise self.fault(f"{name}: {what} at step {rows[0]} are no finite numbers: {values[rows[0]].tolist()}")

    def _cameras_shown(self) -> str:
        return ", ".join(ours if ours == key else f"{ours} ({key})" for ours, key in self.facts.cameras.items())


FORMATS: Registry[type[DemonstrationSource]] = Registry("demonstration format", package="vla_bench.demos.formats")


def open_source(path: Path | str, options: SourceOptions | None = None) -> DemonstrationSource:
    """Open demonstrations of whatever known format lies at `path`, a file or a folder."""
    path = Path(path)
    if not path.exists():
        raise DemonstrationFileError(path, "there is no such file or folder")
    for name in FORMATS:
        if FORMATS[name].recognises(path):
            return FORMATS[name](path, options or SourceOptions())
    return FORMATS["ours"](path, options or SourceOptions())  # whose reader says what is wrong with it


def cameras_by_our_names(
    path: Path, keys: Sequence[str], usual: Mapping[str, str], chosen: Mapping[str, str]
) -> dict[str, str]:
    """Return our camera names -> a source's keys: as the user chose, else by the usual names, else by their own."""
    for ours, key in chosen.items():
        if key not in keys:
            near = get_close_matches(key, keys, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            known = ", ".join(keys)
            raise DemonstrationFileError(path, f"camera {ours}={key}: no images {key!r}{hint}; it has {known}")
    named = {usual.get(key, key): key for key in keys if key not in chosen.values()}
    return {**named, **chosen}
