"""What a geometric augmentation has to know of the scene, and how it says that there is no exact change."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vla_bench.core.cameras import CameraGeometry
from vla_bench.core.errors import VlaBenchError
from vla_bench.core.rotations import quat_wxyz_to_matrix
from vla_bench.core.types import FloatArray, ProprioceptionField
from vla_bench.training.augmentation.robots import RobotSymmetry


class AugmentationRefusedError(VlaBenchError):
    """An augmentation that could not be true to the action."""

    def __init__(self, change: str, of: str, reason: str, option: str) -> None:
        super().__init__(f"No {change} is true to the action for {of}: {reason}. Leave {option} at 0, or {of} out.")


@dataclass(frozen=True)
class SceneGeometry:
    """Where cameras and robot stand, and what proprioception tells."""

    cameras: Mapping[str, CameraGeometry]  # in the order of a sample's images
    robot_base_position_world: tuple[float, float, float]  # m
    robot_base_quat_wxyz_world: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    proprioception_fields: tuple[ProprioceptionField, ...] = ()  # in the order of the numbers
    robot: RobotSymmetry | None = None  # None: not known to be symmetric

    @property
    def robot_axes_world(self) -> FloatArray:
        """The base's axes as columns, (3, 3): x ahead, y to the left, z up."""
        return quat_wxyz_to_matrix(np.array(self.robot_base_quat_wxyz_world))
