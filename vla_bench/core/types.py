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


def still_action(action_dim: int = ACTION_DIM) -> FloatArray:
    """Return the action without motion and with open grippers, (action_dim,): 7 numbers for each arm."""
    return np.tile([0, 0, 0, 0, 0, 0, -1.0], action_dim // ACTION_DIM)


class Observation(TypedDict):
    """Observation of one control step. Images are right side up."""

    images: dict[str, ImageArray]  # camera name -> (H, W, 3)
    proprioception: NDArray[np.float32]  # fields in the order of the environment's `proprioception_fields`
    instruction: str
    depth: NotRequired[dict[str, NDArray[np.float32]]]  # camera name -> (H, W) [m], along the optical axis
    segmentation: NotRequired[dict[str, NDArray[np.uint8]]]  # camera name -> (H, W), indices into `segment_names`
    expert_action: NotRequired[NDArray[np.float32]]  # 7 per arm, if the policy requires expert actions


@dataclass(frozen=True)
class ProprioceptionField:
    """One named slice of the proprioception vector."""

    name: str
    size: int
    description: str  # units and frame


@dataclass(frozen=True)
class Joint:
    """State of one articulated joint of a fixture, for goal predicates and experts.

    A drawer or a door counts as open, a knob as turned on and a button as pressed from `open_from` upwards, and as the
    opposite below `closed_below`. In between it counts as neither.
    """

    name: str
    position: float  # rad or m, growing from closed to open
    open_from: float
    closed_below: float
    turns: bool  # hinge or slide
    axis_world: FloatArray  # (3,) unit vector: direction of sliding or axis of rotation, for growing `position`
    anchor_world: FloatArray  # (3,) a point on the axis of a hinge [m]
    handle_position_world: FloatArray  # (3,) grasp or press point of a gripper [m]
    handle_along_world: FloatArray  # (3,) unit vector along the bar of the handle; fingers close across it


@dataclass(frozen=True)
class ItemGeometry:
    """Shape of an item for goal predicates and experts. Lengths in meters in the frame of the item."""

    bottom_m: float  # height of the lowest point above the origin (negative)
    top_m: float  # height of the highest point above the origin
    support_m: float  # height above the origin at which objects rest on or in the item
    support_radius_m: float  # an object whose center is within this horizontal distance is on the item
    radius_m: float = 0.0  # the largest horizontal distance of the item's body from the origin; 0: not known
    grasp_height_m: float = 0.0  # height above the origin at which the fingertips close
    grasp_yaw_symmetry_rad: float = 0.0  # grasps this far apart are equivalent; 0: any yaw
    grasp_offset_m: float = (
        0.0  # distance from the origin to a rim that the fingers close on; 0: grasp across the whole item
    )
    opening_half_size_m: tuple[float, float] | None = None  # of a container with walls, along its x and y axes


@dataclass(frozen=True)
class GripperGeometry:
    """Shape of a two-finger gripper for experts. Lengths are measured from the point between the fingertips.

    The fingers open along the x axis of the gripper and point along its z axis.
    """

    opening_m: float  # between the fingertips when open
    finger_offset_m: float  # from the center to the middle of an open finger
    finger_clearance_m: float  # smallest distance between the middle of a finger and an object without contact
    fingertip_m: float  # extent of the fingers ahead of the point between the fingertips
    depth_m: float  # depth of free space between the fingers behind that point
    palm_m: float  # distance of the palm behind that point
    palm_half_size_m: tuple[float, float]  # along x and y


class World(Protocol):
    """Read-only view of a simulated scene, for goal predicates and experts. Positions in meters in the world frame."""

    def items(self) -> Sequence[str]:
        """Names of all items that a task may refer to."""

    def geometry(self, item: str) -> ItemGeometry:
        """Shape of `item`."""

    def position_world(self, item: str) -> FloatArray:
        """Origin of `item` (its center), (3,)."""

    def quat_wxyz_world(self, item: str) -> FloatArray:
        """Orientation of `item`, (4,)."""

    def initial_position_world(self, item: str) -> FloatArray:
        """Center of `item` at the start of the episode, (3,)."""

    def in_contact(self, first: str, second: str) -> bool:
        """Return whether any geoms of the two items touch. "gripper" stands for the fingers of the robot."""

    def inside(self, item: str, container: str) -> bool:
        """Return whether the center of `item` is in the `inside` volume of `container`."""

    def joints(self, fixture: str) -> Sequence[Joint]:
        """Articulated joints of `fixture`."""

    def end_effector_position_world(self) -> FloatArray:
        """Point between the fingertips, (3,)."""

    def end_effector_quat_wxyz_world(self) -> FloatArray:
        """Orientation of the gripper, (4,)."""

    def gripper(self) -> GripperGeometry:
        """Shape of the gripper."""

    def gripper_opening_m(self) -> float:
        """Distance between the fingertips."""


Side = Literal["right", "left"]


@runtime_checkable
class TwoArmWorld(World, Protocol):
    """A world with two arms. As a `World` it is that of the right arm, except that "gripper" stands for the fingers
    of both.
    """

    def arm(self, side: Side) -> World:
        """Return the world as seen by one arm."""


@runtime_checkable
class DirtyWorld(World, Protocol):
    """A world with dirt that can be wiped away."""

    def dirt_world(self, item: str) -> FloatArray:
        """Return the positions of the remaining dirt of `item`, (N, 3)."""
