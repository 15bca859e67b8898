"""Demonstration sources: every known format behind one interface, converted to the conventions of `vla_bench`.

The conventions are those of `vla_bench.core.types`: images right side up, rotations as axis-angle vectors that keep the
sign of the quaternion, gripper commands from -1 (open) to +1 (close).
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.conventions import GripperConvention, Orientation, gripper_to_close_positive
from vla_bench.core.errors import ConventionError, DemonstrationFileError
from vla_bench.core.files import Closing
from vla_bench.core.registry import Registry
from vla_bench.core.types import ACTION_DIM, FloatArray, ImageArray, ProprioceptionField
from vla_bench.demos.hdf5 import SourceCandidate

_MAX_ACTION = 1.0 + 1e-3  # robomimic refuses larger actions, too
_GRIPPER_TOLERANCE = 1e-3


@dataclass(frozen=True)
class SourceOptions:
    """Conventions stated by the user, for sources that do not state them or state them wrongly."""

    instruction: str | None = None  # of every episode
    gripper: GripperConvention | None = None
    orientation: Orientation | None = None  # of the stored images
    control_hz: int | None = None
    cameras: Mapping[str, str] = field(default_factory=dict)  # our camera name -> the source's key
    state: tuple[tuple[str, int], ...] = ()  # (field, size) in order, for a state vector without names


@dataclass(frozen=True)
class SourceFacts:
    """Facts that hold for every episode of a source."""

    format: str
    cameras: Mapping[str, str]  # our camera name -> the source's key
    image_size: tuple[int, int]  # height and width of the first camera [pixels]
    proprioception_fields: tuple[ProprioceptionField, ...]  # in our conventions
    control_hz: int
    action_convention: str
    gripper: GripperConvention | None  # as stored (actions are returned in ours); None where it is unknown
    orientation: Orientation  # as stored (images are returned upright)
    robot: str | None = None  # that executed the actions; None where it is unknown


@dataclass(frozen=True)
class EpisodeFacts:
    """Facts about one episode that are known without reading its arrays."""

    name: str
    instruction: str  # empty where it is unknown
    steps: int
    suite: str
    task: str
    success: bool | None = None  # None where it is unknown

    @property
    def task_id(self) -> str:
        """`suite.task`."""
        return f"{self.suite}.{self.task}"


class DemonstrationSource(Closing):
    """An open source of demonstrations, to be used as a context manager; all data is returned in our conventions.

    Damaged content raises `DemonstrationFileError`, unsupported conventions raise `ConventionError`.
    """

    may_exceed_one: ClassVar[bool] = False  # whether arm actions beyond 1 are valid (the environment clips them)
    path: Path
    facts: SourceFacts
    episodes: tuple[EpisodeFacts, ...]

    @classmethod
    @abstractmethod
    def recognizes(cls, candidate: SourceCandidate) -> bool:
        """Return whether the candidate is of this format; do not raise for a damaged file."""

    @abstractmethod
    def __init__(self, path: Path, options: SourceOptions) -> None:
        """Open the source and read the facts of all episodes."""

    @abstractmethod
    def stored_actions(self, name: str) -> NDArray[np.float32]:
        """Return the actions of an episode as they are stored, (T, D)."""

    @abstractmethod
    def stored_field(self, name: str, field: str) -> NDArray[np.float32]:
        """Return one proprioception field of an episode, (T, size), in our convention."""

    @abstractmethod
    def images(self, name: str, camera: str, steps: NDArray[np.int64]) -> ImageArray:
        """Return the images of the given steps, (len(steps), H, W, 3), right side up, without reading other steps."""

    def subset(self, subset: str) -> tuple[str, ...] | None:
        """Return the episodes of a subset that the source defines; None where it defines no such subset."""
        return None

    def model_xml(self, name: str) -> str | None:
        """Return the MJCF of the scene that an episode was recorded in; None where the source does not hold it."""
        return None

    def step_labels(self, name: str) -> tuple[str, ...] | None:
        """Return a text for each step of an episode, such as its phase; None where the source has none."""
        return None

    def actions(self, name: str) -> NDArray[np.float32]:
        """Return the actions of an episode, (T, 7), with the gripper from -1 (open) to +1 (close)."""
        actions = self.stored_actions(name)
        if actions.ndim != 2 or actions.shape[1] != ACTION_DIM:
            raise self.fault(f"{name}: actions have shape {actions.shape}, expected (T, {ACTION_DIM})")
        self._require_finite(name, "actions", actions)
        gripper = gripper_to_close_positive(actions[:, -1:], self._gripper())
        converted: NDArray[np.float32] = np.concatenate([actions[:, :-1], gripper], axis=1).astype(np.float32)
        return converted

    def proprioception(self, name: str, fields: Sequence[str]) -> NDArray[np.float32]:
        """Return the named fields of an episode, concatenated in the order given, (T, P)."""
        steps = next(episode.steps for episode in self.episodes if episode.name == name)
        columns = [np.empty((steps, 0), dtype=np.float32)]
        for name_of_field in fields:
            values = self.stored_field(name, name_of_field)
            self._require_finite(name, f"proprioception field {name_of_field}", values)
            columns.append(values)
        return np.concatenate(columns, axis=1)

    def require(self, *, cameras: Iterable[str] = (), proprioception: Iterable[str] = ()) -> None:
        """Raise unless the source has episodes, all with an instruction, and these cameras and fields."""
        if missing := [camera for camera in cameras if camera not in self.facts.cameras]:
            raise self.fault(f"no images of camera {', '.join(missing)}; it has {self._format_cameras()}")
        fields = [field.name for field in self.facts.proprioception_fields]
        if unknown := [field for field in proprioception if field not in fields]:
            raise self.fault(f"no proprioception field {', '.join(unknown)}; it has {', '.join(fields) or 'none'}")
        if not self.episodes:
            raise self.fault("there is no demonstration in it")
        if without := [episode.name for episode in self.episodes if not episode.instruction]:
            problem = f"{without[0]} has no instruction, and nothing in the source states one"
            raise self.fault(f"{problem}: state it (`--instruction`)")
        self._gripper()

    def require_conventional_actions(self, actions: NDArray[np.float32], gripper: NDArray[np.float32]) -> None:
        """Raise `ConventionError` where arm actions (T, 7) or stored gripper commands contradict the conventions."""
        if (
            not self.may_exceed_one
            and actions.size
            and (largest := float(np.abs(actions[:, : ACTION_DIM - 1]).max())) > _MAX_ACTION
        ):
            raise ConventionError(
                f"{self.path}: actions reach {largest:g}; expected end-effector deltas scaled to -1..1, "
                "as robosuite's OSC_POSE controller takes them."
            )
        if problem := gripper_problem(gripper, self._gripper()):
            raise ConventionError(f"{self.path}: {problem}. State the right convention (`--gripper`).")

    def fault(self, problem: str) -> DemonstrationFileError:
        """Return an error about this source."""
        return DemonstrationFileError(self.path, problem)

    def _gripper(self) -> GripperConvention:
        if self.facts.gripper is None:
            raise ConventionError(
                f"{self.path}: the source does not state which gripper command closes. State it (`--gripper`): "
                "close_positive (-1 open, +1 close), open_positive, close_one (0 open, 1 close) or open_one."
            )
        return self.facts.gripper

    def _require_finite(self, name: str, what: str, values: NDArray[np.float32]) -> None:
        rows = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(rows):
            raise self.fault(f"{name}: {what} at step {rows[0]} are not finite: {values[rows[0]].tolist()}")

    def _format_cameras(self) -> str:
        return ", ".join(ours if ours == key else f"{ours} ({key})" for ours, key in self.facts.cameras.items())


FORMATS: Registry[type[DemonstrationSource]] = Registry("demonstration format", package="vla_bench.demos.formats")


def open_source(path: Path | str, options: SourceOptions | None = None) -> DemonstrationSource:
    """Open the demonstrations at `path`, a file or folder of any known format."""
    path = Path(path)
    if not path.exists():
        raise DemonstrationFileError(path, "there is no such file or folder")
    candidate = SourceCandidate(path)
    for name in FORMATS:
        if FORMATS[name].recognizes(candidate):
            return FORMATS[name](path, options or SourceOptions())
    return FORMATS["ours"](path, options or SourceOptions())  # this reader's error describes the problem


@contextmanager
def open_sources(paths: Sequence[Path], options: SourceOptions) -> Iterator[tuple[DemonstrationSource, ...]]:
    """Open several sources once and check the stated conventions; the sources are closed when the block ends."""
    with ExitStack() as stack:
        sources = tuple(stack.enter_context(open_source(path, options)) for path in paths)
        require_stated_conventions(sources, options)
        yield sources


def require_stated_conventions(sources: Sequence[DemonstrationSource], options: SourceOptions) -> None:
    """Raise `ConventionError` where a stated convention applies to no source, because all state another one."""
    for name, stated in (("gripper", options.gripper), ("orientation", options.orientation)):
        found = {getattr(source.facts, name) for source in sources}
        if stated is not None and sources and stated not in found:
            raise ConventionError(
                f"`--{name} {stated}` contradicts {sources[0].path}, which itself states {found.pop()!r} and is read "
                "accordingly. Leave the option out."
            )


def map_camera_names(
    path: Path, keys: Sequence[str], usual: Mapping[str, str], chosen: Mapping[str, str]
) -> dict[str, str]:
    """Return our camera names -> keys of the source.

    Args:
        path: the source, for error messages.
        keys: image keys of the source.
        usual: key -> our name, used for keys that the user did not name; other keys keep their own name.
        chosen: our name -> key, as stated by the user.
    """
    for ours, key in chosen.items():
        if key not in keys:
            near = get_close_matches(key, keys, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            known = ", ".join(keys)
            raise DemonstrationFileError(path, f"camera {ours}={key}: no images {key!r}{hint}; it has {known}")
    named = {usual.get(key, key): key for key in keys if key not in chosen.values()}
    return {**named, **chosen}


def quats_xyzw_to_axis_angle(quats_xyzw: FloatArray) -> NDArray[np.float32]:
    """Return rotation vectors (T, 3) [rad] of unit quaternions (T, 4) in robosuite's order (x, y, z, w).

    The sign of each quaternion is kept, as in robosuite's `quat2axisangle`: angles are between 0 and 2 pi.
    """
    quats = np.asarray(quats_xyzw, dtype=np.float64)
    w = np.clip(quats[:, 3:], -1.0, 1.0)
    sine = np.sqrt(1.0 - w * w)
    scale = np.where(sine < 1e-9, 0.0, 2.0 * np.arccos(w) / np.maximum(sine, 1e-9))
    axis_angle: NDArray[np.float32] = (quats[:, :3] * scale).astype(np.float32)
    return axis_angle


def axis_angles_to_quats_xyzw(axis_angles: FloatArray) -> FloatArray:
    """Return unit quaternions (T, 4) of rotation vectors (T, 3) [rad]; angles beyond pi give a negative w."""
    vectors = np.asarray(axis_angles, dtype=np.float64)
    angles = np.linalg.norm(vectors, axis=1, keepdims=True)
    axes = vectors / np.maximum(angles, 1e-12)
    quats: FloatArray = np.concatenate([axes * np.sin(angles / 2), np.cos(angles / 2)], axis=1)
    return quats


def panda_hand_to_grip_site(hand_quats_xyzw: FloatArray) -> FloatArray:
    """Return the orientation of a Panda's grip site (between the fingertips) from that of its hand body, both (T, 4).

    robosuite observes the hand body (`robot0_eef_quat`, and therefore LIBERO's `ee_ori`); our environments observe the
    grip site, which is rotated by -90 degrees about the hand's axis.
    """
    x, y, z, w = np.asarray(hand_quats_xyzw, dtype=np.float64).T
    rotated: FloatArray = np.stack([x - y, y + x, z - w, w + z], axis=1) / np.sqrt(2.0)
    return rotated


def panda_hand_to_grip_site_axis_angle(axis_angles: FloatArray) -> NDArray[np.float32]:
    """Return rotation vectors (T, 3) [rad] of the grip site, as our environments observe it, from those of the hand."""
    quats_xyzw = panda_hand_to_grip_site(axis_angles_to_quats_xyzw(axis_angles))
    return quats_xyzw_to_axis_angle(with_mujoco_site_sign(quats_xyzw))


def with_mujoco_site_sign(quats_xyzw: FloatArray) -> FloatArray:
    """Return unit quaternions (T, 4) with the sign that MuJoCo gives a site's quaternion (`mju_mat2Quat`).

    The scalar part is positive where it is above one half; otherwise the largest of the other parts is positive.
    """
    quats = np.asarray(quats_xyzw, dtype=np.float64)
    largest = np.abs(quats[:, :3]).argmax(axis=1)
    leading = np.where(np.abs(quats[:, 3]) > 0.5, quats[:, 3], quats[np.arange(len(quats)), largest])
    signed: FloatArray = quats * np.where(leading < 0, -1.0, 1.0)[:, None]
    return signed


def gripper_problem(gripper: FloatArray, convention: GripperConvention) -> str | None:
    """Return why the gripper commands of a source contradict `convention`; None where they do not."""
    if not gripper.size:
        return None
    low, high = float(gripper.min()), float(gripper.max())
    first, last = (0.0, 1.0) if convention.endswith("_one") else (-1.0, 1.0)
    zero_one = first == -1.0 and low == 0.0 and high == 1.0
    if low >= first - _GRIPPER_TOLERANCE and high <= last + _GRIPPER_TOLERANCE and not zero_one:
        return None
    return f"gripper commands range from {low:g} to {high:g}, but {convention!r} means {first:g} to {last:g}"
