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


FIXED_SEGMENTS = ("background", "robot")  # the first segmentation values; items follow


def segment_names(items: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the values in a segmentation: 0 background, 1 robot, then the items in order."""
    return (*FIXED_SEGMENTS, *items)


@dataclass(frozen=True)
class Fixture:
    """A body that is fixed in the world and may be moved before an episode starts."""

    body: int
    bin: bool = False  # a container; must not be rotated, since robosuite's success check uses the world's axes


Disturbance = Callable[["mujoco.MjModel", "mujoco.MjData"], None]


class Simulation(Protocol):
    """The simulated world of one task. The Gymnasium environment is the same for every engine."""

    proprioception_fields: tuple[ProprioceptionField, ...]
    action_dim: int  # 7 for each arm

    @property
    def world(self) -> World:
        """The view that goal predicates and experts read."""

    @property
    def instruction(self) -> str:
        """The instruction of this episode."""

    def reset(self, generator: np.random.Generator, disturb: Disturbance | None = None) -> None:
        """Start an episode independent of the previous one: every random draw comes from `generator`.

        `disturb` may move objects after they are placed and before they settle.
        """

    def step(self, action: FloatArray) -> None:
        """Advance one control step (1/20 s) under an action of `action_dim` numbers in [-1, 1]."""

    def images(self) -> dict[str, ImageArray]:
        """Render every camera: name -> (H, W, 3), right side up."""

    def depth(self) -> dict[str, NDArray[np.float32]]:
        """Render every camera's depth: name -> (H, W) [m], along the optical axis."""

    def segmentation(self) -> dict[str, NDArray[np.uint8]]:
        """Render every camera's segmentation: name -> (H, W); values as in `segment_names`."""

    def cameras(self) -> dict[str, CameraGeometry]:
        """Return the current geometry of every camera."""

    def proprioception(self) -> NDArray[np.float32]:
        """Return the robot's proprioception in the order of `proprioception_fields`."""

    def succeeded(self) -> bool:
        """Return whether the goal currently holds."""

    def reward(self, succeeded: bool) -> float:
        """Return this step's reward, given whether the step completed the task."""

    def gripper_force_n(self) -> float:
        """Return the largest normal force at a contact of the gripper at the end of the last step [N]."""

    def state(self) -> NDArray[np.float64]:
        """Return the whole simulation state, (D,)."""

    def scene_state(self) -> NDArray[np.float64]:
        """Return the state without the solver's warm start, for the scene hash, (D,)."""

    def set_state(self, state: NDArray[np.float64]) -> None:
        """Restore a state that `state` returned."""

    def models(self) -> tuple["mujoco.MjModel", ...]:
        """Return the simulated model and the rendered models; a perturbed simulation shares them with no other one.

        All have the same bodies, geoms, cameras and lights.
        """

    def models_changed(self) -> None:
        """Update everything that was derived from the models' fields."""

    def changes(self) -> tuple[NDArray[np.float64], ...]:
        """Return the differences from the compiled models, for the scene hash."""

    def item_bodies(self) -> Mapping[str, Iterable[int]]:
        """Return the model's bodies of each item."""

    def fixtures(self) -> tuple[Fixture, ...]:
        """Return the fixed bodies that can be moved, for a simulation that does not share its model."""

    def fixture_pose(self, body: int) -> tuple[FloatArray, FloatArray]:
        """Return the position (3,) and quaternion (4,) of a fixture."""

    def move_fixture(self, body: int, position_world: FloatArray, quat_wxyz: FloatArray) -> None:
        """Move a fixture, for this episode."""

    def arm_qpos_addresses(self) -> NDArray[np.int64]:
        """Return the indices of the arms' joint positions in `qpos`."""

    def model_xml(self) -> str:
        """Return the MJCF of the compiled model."""

    def close(self) -> None:
        """Release the resources of the simulation."""
