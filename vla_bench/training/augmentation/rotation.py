"""Turns about the vertical: the scene, the action and, for half turns, the instruction."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from vla_bench.core.cameras import CameraGeometry
from vla_bench.core.types import ImageArray
from vla_bench.training.augmentation.config import AugmentationConfig
from vla_bench.training.augmentation.motion import SceneMotion, check_axis_angles, check_rotated_fields
from vla_bench.training.augmentation.samples import Samples
from vla_bench.training.augmentation.scene import AugmentationRefusedError, SceneGeometry
from vla_bench.training.augmentation.words import direction_in, half_turned_text

_CHANGE, _OPTION = "rotation", "`rotation_deg` and `half_turn`"
_NEAR_DEG = 0.1  # off the vertical
_NEAR_M = 1e-3  # between the axes of two cameras


@dataclass(frozen=True)
class InPlaneRotation:
    """Turn samples about the vertical axis through a camera that looks straight down.

    An image turned about its middle is the image of the scene turned about the optical axis, for that camera alone.
    What comes into view at the corners is black.
    """

    largest_rad: float
    half_turn: float  # probability
    scene: SceneGeometry

    @classmethod
    def of(cls, config: AugmentationConfig, scene: SceneGeometry | None) -> "InPlaneRotation | None":
        """Return what `config` asks for. Raises `AugmentationRefusedError` where some camera does not allow it."""
        if not config.rotation_deg and not config.half_turn:
            return None
        if scene is None:
            raise AugmentationRefusedError(_CHANGE, "these cameras", "where they stand is not known", _OPTION)
        first = next(iter(scene.cameras.values()))
        for name, camera in scene.cameras.items():
            _check_camera(name, camera, first)
        check_rotated_fields(scene, _OPTION)
        return cls(float(np.deg2rad(config.rotation_deg)), config.half_turn, scene)

    def drawn(self, rows: int, images: int, generator: np.random.Generator) -> NDArray[Any]:
        """Return angles seen from above, counter-clockwise, and whether half a turn comes on top, (rows, 2) [rad]."""
        angle = generator.uniform(-self.largest_rad, self.largest_rad, size=rows)
        return np.stack([angle, generator.uniform(size=rows) < self.half_turn], axis=1)

    def applied(self, samples: Samples, parameters: NDArray[Any]) -> Samples:
        """Return turned copies."""
        turned = parameters[:, 1].astype(bool)
        angles = parameters[:, 0] + np.pi * turned
        linear = Rotation.from_rotvec(angles[:, None] * np.array([0.0, 0.0, 1.0])).as_matrix()
        linear[angles == 0.0] = np.eye(3)
        camera = next(iter(self.scene.cameras.values()))
        motion = SceneMotion(self.scene, linear, np.array(camera.position_world), np.zeros(len(angles), dtype=bool))
        texts = zip(samples.instructions, turned, strict=True)
        return replace(
            samples,
            images=_turned(samples.images, angles),
            actions=motion.actions(samples.actions),
            proprioception=motion.proprioception(samples.proprioception),
            instructions=tuple(half_turned_text(text) if turn else text for text, turn in texts),
        )

    def extremes(self, images: int) -> Iterable[NDArray[Any]]:
        """Yield both largest angles, and half a turn."""
        for angle in {self.largest_rad, -self.largest_rad} - {0.0}:
            yield np.array([[angle, 0.0]])
        if self.half_turn:
            yield np.array([[0.0, 1.0]])

    def texts(self, instruction: str) -> Iterable[str]:
        """Yield every text that `instruction` may become; raise where it names a direction that would turn."""
        word = direction_in(instruction)
        if self.largest_rad and word is not None:
            reason = f"{word!r} has no name after a turn by some degrees (half turns alone would do)"
            raise AugmentationRefusedError(_CHANGE, f"the instruction {instruction!r}", reason, "`rotation_deg`")
        yield instruction
        if self.half_turn:
            yield half_turned_text(instruction)

    def check(self, proprioception: NDArray[np.float32]) -> None:
        """Raise where recorded proprioception cannot be turned."""
        check_axis_angles(self.scene, proprioception, _CHANGE, _OPTION)


def _turned(images: ImageArray, angles: NDArray[np.float64]) -> ImageArray:
    turned = np.empty_like(images)
    height, width = images.shape[2:4]
    for row, number in np.ndindex(images.shape[:2]):
        middle = ((width - 1) / 2, (height - 1) / 2)
        matrix = cv2.getRotationMatrix2D(middle, float(np.rad2deg(angles[row])), 1.0)
        turned[row, number] = cv2.warpAffine(images[row, number], matrix, (width, height), flags=cv2.INTER_LINEAR)
    return turned


def _check_camera(name: str, camera: CameraGeometry, first: CameraGeometry) -> None:
    if camera.moves_with is not None:
        reason = f"it moves with {camera.moves_with}, so its optical axis is not the vertical of the scene"
        raise AugmentationRefusedError(_CHANGE, f"camera {name!r}", reason, _OPTION)
    off_deg = float(np.rad2deg(np.arccos(np.clip(-camera.view_world[2], -1.0, 1.0))))
    if off_deg > _NEAR_DEG:
        reason = f"it looks {off_deg:.1f} degrees off straight down"
        raise AugmentationRefusedError(_CHANGE, f"camera {name!r}", reason, _OPTION)
    apart_m = float(np.linalg.norm((np.array(camera.position_world) - np.array(first.position_world))[:2]))
    if apart_m > _NEAR_M:
        reason = f"its optical axis lies {apart_m:.3f} m beside the first camera's"
        raise AugmentationRefusedError(_CHANGE, f"camera {name!r}", reason, _OPTION)
