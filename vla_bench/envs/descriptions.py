"""Robots, objects and scenes as described by the TOML files in the `envs` folder."""

from functools import cache
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vla_bench.core.errors import ConfigurationError, UnknownNameError
from vla_bench.core.paths import data_folder
from vla_bench.core.validation import read_toml, validated

Vector = tuple[float, ...]
Pair = tuple[float, float]


class Description(BaseModel):
    """Base of all descriptions: unknown fields are errors, values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GraspDescription(Description):
    """How an object is picked up from above."""

    height_m: float = 0.0
    yaw_symmetry_deg: Annotated[float, Field(ge=0, le=360)] = 0.0
    offset_m: Annotated[float, Field(ge=0)] = 0.0  # of a rim from the origin; 0: the fingers close on the whole object


class JointDescription(Description):
    """A joint that tasks speak of: a drawer is open, a knob turned on, a button pressed from `open_from` on."""

    joint: str  # in the object's MJCF
    handle: str  # a site where a gripper takes or presses; its x axis runs along the bar that fingers close across
    open_from: float  # m or rad
    closed_below: float

    @model_validator(mode="after")
    def _apart(self) -> "JointDescription":
        if self.closed_below >= self.open_from:
            raise ValueError(f"closed_below {self.closed_below} is not below open_from {self.open_from}")
        return self


class PartDescription(Description):
    """A part of an object that tasks may speak of, as `<object>_<part>`.

    The object's MJCF has a body of the part's name, whose shape the sites `<part>_bottom`, `<part>_top`,
    `<part>_support` and, of a container, `<part>_inside` state; or a site of that name: an area where things may be.
    """

    noun: str
    joint: JointDescription | None = None


class ObjectDescription(Description):
    """A thing that may stand in a scene. A fixed one stands where it was put, whatever pushes it."""

    noun: str
    mjcf: str
    rgba: tuple[float, float, float, float]
    colour: str
    grasp: GraspDescription | None = None
    fixed: bool = False
    parts: dict[str, PartDescription] = {}


class Region(Description):
    """A rectangle on the scene's surface in which things are placed."""

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
    wrist_camera: str

    @model_validator(mode="after")
    def _one_value_a_joint(self) -> "ArmDescription":
        _check_lengths(
            len(self.joints), actuators=self.actuators, start_rad=self.start_rad, joint_damping=self.joint_damping
        )
        return self


class GripperDescription(Description):
    """The gripper of a robot."""

    mjcf: str
    joints: tuple[str, ...]
    actuators: tuple[str, ...]
    open_m: Vector
    closed_m: Vector
    closing_steps: Annotated[int, Field(ge=1)]
    end_effector_site: str
    finger_bodies: tuple[str, ...]

    @model_validator(mode="after")
    def _one_value_a_joint(self) -> "GripperDescription":
        _check_lengths(len(self.joints), actuators=self.actuators, open_m=self.open_m, closed_m=self.closed_m)
        return self


class RobotDescription(Description):
    """An arm with a gripper."""

    noun: str
    arm: ArmDescription
    gripper: GripperDescription


def _check_lengths(joints: int, **values: tuple[object, ...]) -> None:
    for name, given in values.items():
        if len(given) != joints:
            raise ValueError(f"{joints} joints, but {len(given)} values of {name}")


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


def mjcf_path(folder: Folder, reference: str) -> Path:
    """Return where an MJCF lies: beside its description, or in the installed robosuite ("robosuite:path")."""
    if not reference.startswith("robosuite:"):
        return data_folder("envs") / folder / reference
    from importlib.util import find_spec

    spec = find_spec("robosuite")
    if spec is None or spec.origin is None:
        raise ConfigurationError(reference, "mjcf", "robosuite is not installed", "`pip install robosuite==1.5.2`")
    return Path(spec.origin).parent / reference.removeprefix("robosuite:")


def _read(folder: Folder, name: str, kind: type[D]) -> D:
    path = data_folder("envs") / folder / f"{name}.toml"
    if not path.is_file():
        raise UnknownNameError(folder.removesuffix("s"), name, (file.stem for file in path.parent.glob("*.toml")))
    return validated(kind, read_toml(path), path)
