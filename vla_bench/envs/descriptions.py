"""Descriptions of robots, objects and scenes, read from the TOML files in the `envs` folder."""

from functools import cache
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vla_bench.core.configuration import read_toml, validated
from vla_bench.core.errors import ConfigurationError, UnknownNameError
from vla_bench.core.files import data_folder, user_env_folders
from vla_bench.core.types import GripperGeometry

Vector = tuple[float, ...]
Pair = tuple[float, float]


class Description(BaseModel):
    """Base of all descriptions: unknown fields are errors, values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GraspDescription(Description):
    """Grasp of an object from above."""

    height_m: float = 0.0
    yaw_symmetry_deg: Annotated[float, Field(ge=0, le=360)] = 0.0
    offset_m: Annotated[float, Field(ge=0)] = 0.0  # from the origin to a rim; 0: the fingers close on the whole object


class JointDescription(Description):
    """A joint that tasks refer to: from `open_from` on, a drawer is open, a knob turned on, a button pressed."""

    joint: str  # in the object's MJCF
    handle: str  # a site where a gripper grasps or presses; its x axis is along the bar that the fingers close on
    open_from: float  # m or rad
    closed_below: float

    @model_validator(mode="after")
    def _apart(self) -> "JointDescription":
        if self.closed_below >= self.open_from:
            raise ValueError(f"closed_below {self.closed_below} is not below open_from {self.open_from}")
        return self


class PartDescription(Description):
    """A part of an object that tasks may refer to as `<object>_<part>`.

    The object's MJCF has either a body with the part's name, whose shape is given by the sites `<part>_bottom`,
    `<part>_top`, `<part>_support` and, for a container, `<part>_inside`; or a site with that name, which is an area
    where objects may be.
    """

    noun: str
    joint: JointDescription | None = None


class ObjectDescription(Description):
    """An object of a scene. A fixed object does not move when it is pushed."""

    noun: str
    mjcf: str
    rgba: tuple[float, float, float, float]
    colour: str
    grasp: GraspDescription | None = None
    fixed: bool = False
    parts: dict[str, PartDescription] = {}


class Region(Description):
    """A rectangle on the scene's surface in which objects are placed."""

    centre_m: Pair
    half_size_m: Pair
    yaw_range_deg: Pair = (0.0, 0.0)
    clearance_m: float = 0.02


class SceneDescription(Description):
    """Furniture, light and cameras around a working surface."""

    mjcf: str
    surface_height_m: float
    regions: dict[str, Region]


class ArmDescription(Description):
    """The arm of a robot."""

    mjcf: str
    mount_body: str
    joints: tuple[str, ...]
    actuators: tuple[str, ...]
    start_rad: Vector
    start_noise_rad: float
    joint_damping: Vector
    joint_armature: Vector | None = None  # kg m2, the motors' inertia at the joints; None: as in the MJCF
    wrist_camera: str
    wrist_camera_offset_m: tuple[float, float, float] = (0.0, 0.0, 0.0)  # from its MJCF position, in its body's frame

    @model_validator(mode="after")
    def _one_value_a_joint(self) -> "ArmDescription":
        lengths = {"actuators": self.actuators, "start_rad": self.start_rad, "joint_damping": self.joint_damping}
        if self.joint_armature is not None:
            lengths["joint_armature"] = self.joint_armature
        _check_lengths(len(self.joints), **lengths)
        return self


class EndEffectorDescription(Description):
    """The point between the fingertips: a site of the gripper, with an optional offset and yaw in its own frame.

    The fingers open along its x axis and point along its z axis.
    """

    site: str
    offset_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    yaw_deg: float = 0.0


class FingerDescription(Description):
    """The two fingers and the space that they occupy; lengths as in `GripperGeometry`."""

    bodies: tuple[str, ...]  # whose contacts are the gripper's
    tips: tuple[str, str]  # geoms between which the opening is measured, along the end-effector's x axis
    tip_thickness_m: float  # of both together: the distance between the centers of the tips at opening 0
    opening_m: Annotated[float, Field(gt=0)]
    offset_m: float
    clearance_m: float
    reach_m: float
    depth_m: float
    palm_m: float
    palm_half_size_m: Pair


class Coupling(Description):
    """Two joints of a linkage that move together: one is `ratio` times the other."""

    joint: str
    follows: str
    ratio: float = 1.0


class GripperDescription(Description):
    """The gripper of a robot."""

    mjcf: str
    joints: tuple[str, ...]
    joints_open: Vector  # m or rad
    joints_closed: Vector
    actuators: tuple[str, ...]
    targets_open: Vector  # of the actuators, in their own units
    targets_closed: Vector
    force_limits: Vector | None = None  # of the actuators, in their own units; None: as in the MJCF
    couplings: tuple[Coupling, ...] = ()  # in addition to those in the MJCF
    closing_steps: Annotated[int, Field(ge=1)]
    end_effector: EndEffectorDescription
    fingers: FingerDescription

    @model_validator(mode="after")
    def _one_value_a_joint(self) -> "GripperDescription":
        _check_lengths(len(self.joints), joints_open=self.joints_open, joints_closed=self.joints_closed)
        targets = {"targets_open": self.targets_open, "targets_closed": self.targets_closed}
        if self.force_limits is not None:
            targets["force_limits"] = self.force_limits
        _check_lengths(len(self.actuators), "actuators", **targets)
        return self

    @property
    def geometry(self) -> GripperGeometry:
        """The shape facts that an expert needs."""
        fingers = self.fingers
        return GripperGeometry(
            opening_m=fingers.opening_m,
            finger_offset_m=fingers.offset_m,
            finger_clearance_m=fingers.clearance_m,
            fingertip_m=fingers.reach_m,
            depth_m=fingers.depth_m,
            palm_m=fingers.palm_m,
            palm_half_size_m=fingers.palm_half_size_m,
        )


class RobotDescription(Description):
    """An arm with a gripper."""

    noun: str
    arm: ArmDescription
    gripper: GripperDescription


def _check_lengths(count: int, unit: str = "joints", /, **values: tuple[object, ...]) -> None:
    for name, given in values.items():
        if len(given) != count:
            raise ValueError(f"{count} {unit}, but {len(given)} values of {name}")


D = TypeVar("D", bound=Description)
Folder = Literal["objects", "robots", "scenes"]


@cache
def describe_object(name: str) -> ObjectDescription:
    """Read `envs/objects/<name>.toml`."""
    return _read("objects", name, ObjectDescription)


@cache
def describe_robot(name: str) -> RobotDescription:
    """Read `envs/robots/<name>.toml`."""
    return _read("robots", name, RobotDescription)


@cache
def describe_scene(name: str) -> SceneDescription:
    """Read `envs/scenes/<name>.toml`."""
    return _read("scenes", name, SceneDescription)


def description_path(folder: Folder, name: str) -> Path:
    """Return the TOML file of a description; raise `UnknownNameError`, or `ConfigurationError` if there are two."""
    found = [path for root in _roots() if (path := root / folder / f"{name}.toml").is_file()]
    if not found:
        raise UnknownNameError(folder.removesuffix("s"), name, description_names(folder))
    if len(found) > 1:
        problem = f"{found[0]} describes another {folder.removesuffix('s')} named {name!r}"
        raise ConfigurationError(found[1], "(whole file)", problem, "a unique name")
    return found[0]


def description_names(folder: Folder) -> tuple[str, ...]:
    """Return the names of all descriptions of a kind."""
    return tuple(sorted({path.stem for root in _roots() for path in (root / folder).glob("*.toml")}))


def mjcf_path(folder: Folder, reference: str) -> Path:
    """Return the path of an MJCF: next to its description, or in the installed robosuite ("robosuite:path")."""
    if not reference.startswith("robosuite:"):
        candidates = [root / folder / reference for root in _roots()]
        return next((path for path in candidates if path.is_file()), candidates[0])
    from importlib.util import find_spec

    spec = find_spec("robosuite")
    if spec is None or spec.origin is None:
        raise ConfigurationError(reference, "mjcf", "robosuite is not installed", "`pip install robosuite==1.5.2`")
    return Path(spec.origin).parent / reference.removeprefix("robosuite:")


def _read(folder: Folder, name: str, kind: type[D]) -> D:
    path = description_path(folder, name)
    return validated(kind, read_toml(path), path)


def _roots() -> tuple[Path, ...]:
    return (data_folder("envs"), *user_env_folders())
