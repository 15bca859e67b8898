"""Data types shared by environments, experts and policies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, Protocol, TypedDict, runtime_checkable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
ImageArray = NDArray[np.uint8]

ACTION_DIM = (
    7  # of one arm: end-effector delta position (3), delta axis-angle rotation (3), gripper (-1 open, +1 close)
)
CONTROL_HZ = 20
MAX_DELTA_POSITION_M = 0.05  # what an action of +-1 means; robosuite's OSC_POSE
MAX_DELTA_ROTATION_RAD = 0.5


class Observation(TypedDict):
    """What a policy sees at one step. Images are right side up."""

    images: dict[str, ImageArray]  # camera name -> (H, W, 3)
    proprioception: NDArray[np.float32]  # fields in the order of the environment's `proprioception_fields`
    instruction: str
    depth: NotRequired[dict[str, NDArray[np.float32]]]  # camera name -> (H, W) [m], along the optical axis
    segmentation: NotRequired[dict[str, NDArray[np.uint8]]]  # camera name -> (H, W), places in `segment_names`
    expert_action: NotRequired[NDArray[np.float32]]  # 7 for each arm, where a policy asked for the expert's offer


@dataclass(frozen=True)
class ProprioceptionField:
    """One named slice of the proprioception vector."""

    name: str
    size: int
    description: str  # units and frame


@dataclass(frozen=True)
class Joint:
    """State of one articulated joint of a fixture, for goal predicates and experts.

    A drawer or a door is open, a knob is turned on and a button is pressed from `open_from` on; each is the opposite
    below `closed_below`. Between the two it is neither.
    """

    name: str
    position: float  # rad or m, growing from closed to open
    open_from: float
    closed_below: float
    turns: bool  # a hinge; otherwise it slides
    axis_world: FloatArray  # (3,) unit vector: where it slides, or what it turns about, as `position` grows
    anchor_world: FloatArray  # (3,) a point on the axis of a hinge [m]
    handle_position_world: FloatArray  # (3,) where a gripper takes or presses it [m]
    handle_along_world: FloatArray  # (3,) unit vector along the bar of the handle; fingers close across it


@dataclass(frozen=True)
class ItemGeometry:
    """What goal predicates and experts need to know of an item's shape. Lengths in metres in the item's own frame."""

    bottom_m: float  # height of the lowest point over the item's origin (negative)
    top_m: float  # height of the highest point over the origin
    support_m: float  # height over the origin at which things come to rest on or in the item
    support_radius_m: float  # a thing whose centre is within this horizontal distance is on the item
    radius_m: float = 0.0  # the largest horizontal distance of the item's body from the origin; 0: not known
    grasp_height_m: float = 0.0  # height over the origin at which the fingertips close
    grasp_yaw_symmetry_rad: float = 0.0  # grasps this far apart are equal; 0: any yaw will do
    grasp_offset_m: float = 0.0  # from the origin, outwards to a rim that the fingers close on; 0: across the whole
    opening_half_size_m: tuple[float, float] | None = None  # of a container with walls, along its own x and y


@dataclass(frozen=True)
class GripperGeometry:
    """What an expert needs to know of a two-fingered gripper. Lengths count from the point between the fingertips.

    The gripper's x axis is the one along which the fingers open, its z axis the one along which they point.
    """

    opening_m: float  # between the fingertips when open
    finger_offset_m: float  # from the middle to the middle of an open finger
    finger_clearance_m: float  # between the middle of a finger and a thing, for the finger not to touch it
    fingertip_m: float  # how far the fingers reach ahead of the point between the fingertips
    depth_m: float  # how far behind that point there is still room between the fingers
    palm_m: float  # how far behind that point the palm begins
    palm_half_size_m: tuple[float, float]  # along x and y


class World(Protocol):
    """Read-only view of a simulated scene, for goal predicates and experts. Positions in metres in the world frame."""

    def items(self) -> Sequence[str]:
        """Names of everything that a task may speak of."""

    def geometry(self, item: str) -> ItemGeometry:
        """Shape facts of `item`."""

    def position_world(self, item: str) -> FloatArray:
        """Origin of `item` (its centre), (3,)."""

    def quat_wxyz_world(self, item: str) -> FloatArray:
        """Orientation of `item`, (4,)."""

    def initial_position_world(self, item: str) -> FloatArray:
        """Centre of `item` when the episode began, (3,)."""

    def in_contact(self, first: str, second: str) -> bool:
        """Whether any geoms of the two items touch. "gripper" names the robot's fingers."""

    def inside(self, item: str, container: str) -> bool:
        """Whether the centre of `item` lies in the `inside` volume of `container`."""

    def joints(self, fixture: str) -> Sequence[Joint]:
        """Articulated joints of `fixture`."""

    def end_effector_position_world(self) -> FloatArray:
        """Point between the fingertips, (3,)."""

    def end_effector_quat_wxyz_world(self) -> FloatArray:
        """Orientation of the gripper, (4,)."""

    def gripper(self) -> GripperGeometry:
        """Shape facts of the gripper."""

    def gripper_opening_m(self) -> float:
        """Distance between the fingertips."""


Side = Literal["right", "left"]


@runtime_checkable
class TwoArmWorld(World, Protocol):
    """A world with two arms; as a `World` it is the right one's, except that "gripper" names the fingers of both."""

    def arm(self, side: Side) -> World:
        """Return the same world as one arm finds it."""


@runtime_checkable
class DirtyWorld(World, Protocol):
    """A world in which something can be wiped away."""

    def dirt_world(self, item: str) -> FloatArray:
        """Return where there is still dirt of `item`, (N, 3)."""
