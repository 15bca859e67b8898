"""The protocol between the Gymnasium environment and a simulation engine.

This module does not import MuJoCo: environments use it before MuJoCo is loaded.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.geometry import CameraGeometry
from vla_bench.core.types import FloatArray, ImageArray, ProprioceptionField, World

if TYPE_CHECKING:
    import mujoco


# ~ What the numbers of a segmentation stand for. No MuJoCo here: environments ask before it is loaded.

FIXED_SEGMENTS = ("background", "robot")  # the first numbers; items follow


def segment_names(items: Iterable[str]) -> tuple[str, ...]:
    """Return what the numbers of a segmentation stand for: 0 background, 1 robot, then the items in their order."""
    return (*FIXED_SEGMENTS, *items)


# ~ The contract between the Gymnasium environment and an engine that simulates its world.


@dataclass(frozen=True)
class Fixture:
    """A body that stands fixed in the world and may be put elsewhere before an episode begins."""

    body: int
    bin: bool = False  # things lie in it; it may not be turned, since robosuite judges along the world's axes


Disturbance = Callable[["mujoco.MjModel", "mujoco.MjData"], None]


class Simulation(Protocol):
    """One task's world. The environment above it is the same for every engine."""

    proprioception_fields: tuple[ProprioceptionField, ...]
    action_dim: int  # 7 for each arm

    @property
    def world(self) -> World:
        """The view that goal predicates and experts read."""

    @property
    def instruction(self) -> str:
        """What the policy is told in this episode."""

    def reset(self, generator: np.random.Generator, disturb: Disturbance | None = None) -> None:
        """Begin an episode: every random draw comes from `generator`, nothing is left of the last episode.

        `disturb` may move what has been placed, before it settles.
        """

    def step(self, action: FloatArray) -> None:
        """Advance one control step (1/20 s) under an action of `action_dim` numbers in [-1, 1]."""

    def images(self) -> dict[str, ImageArray]:
        """Render every camera: name -> (H, W, 3), right side up."""

    def depth(self) -> dict[str, NDArray[np.float32]]:
        """Render every camera's depth: name -> (H, W) [m], along the optical axis."""

    def segmentation(self) -> dict[str, NDArray[np.uint8]]:
        """Render what every camera's pixels show: name -> (H, W); numbers as in `segments.segment_names`."""

    def cameras(self) -> dict[str, CameraGeometry]:
        """Return where every camera stands now."""

    def proprioception(self) -> NDArray[np.float32]:
        """Return the robot's own state in the order of `proprioception_fields`."""

    def succeeded(self) -> bool:
        """Whether the goal holds now."""

    def reward(self, succeeded: bool) -> float:
        """Return this step's reward, given whether the step completed the task."""

    def gripper_force_n(self) -> float:
        """Return the largest normal force at a contact of the gripper, at the end of the last step [N]."""

    def state(self) -> NDArray[np.float64]:
        """Return the whole simulation state, (D,)."""

    def scene_state(self) -> NDArray[np.float64]:
        """Return what of the state makes the scene, for its hash: all but the solver's warm start, (D,)."""

    def set_state(self, state: NDArray[np.float64]) -> None:
        """Restore what `state` returned."""

    def models(self) -> tuple["mujoco.MjModel", ...]:
        """Return the model that is simulated and those that are drawn; no other simulation uses them if it may change.

        All have the same bodies, geoms, cameras and lights.
        """

    def models_changed(self) -> None:
        """Read anew what was derived from the models' fields."""

    def changes(self) -> tuple[NDArray[np.float64], ...]:
        """Return what differs from the models as compiled, for the hash of the scene."""

    def item_bodies(self) -> Mapping[str, Iterable[int]]:
        """Return the bodies of the model that are each item's."""

    def fixtures(self) -> tuple[Fixture, ...]:
        """Return what stands fixed and can be put elsewhere, in a simulation whose model is its own."""

    def fixture_pose(self, body: int) -> tuple[FloatArray, FloatArray]:
        """Return where a fixture stands: position (3,) and quaternion (4,)."""

    def move_fixture(self, body: int, position_world: FloatArray, quat_wxyz: FloatArray) -> None:
        """Put a fixture somewhere, for this episode."""

    def arm_qpos_addresses(self) -> NDArray[np.int64]:
        """Return where the joint positions of the arms stand in `qpos`."""

    def model_xml(self) -> str:
        """Return the MJCF of the compiled model."""

    def close(self) -> None:
        """Free what the simulation holds."""
