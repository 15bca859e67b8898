"""Mirror images: the scene, the action and the instruction with left and right exchanged."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.cameras import CameraGeometry
from vla_bench.core.types import FloatArray
from vla_bench.training.augmentation.config import AugmentationConfig
from vla_bench.training.augmentation.motion import SceneMotion, check_axis_angles, check_mirrored_fields
from vla_bench.training.augmentation.samples import Samples
from vla_bench.training.augmentation.scene import AugmentationRefusedError, SceneGeometry
from vla_bench.training.augmentation.words import mirrored_text

_CHANGE, _OPTION = "mirror image", "`flip`"
_NEAR_M = 1e-3  # beside the plane of symmetry
_NEAR_DEG = 0.1  # off its normal


@dataclass(frozen=True)
class HorizontalFlip:
    """Reflect samples in the vertical plane through the robot's base, which runs ahead of it.

    An image turned over is the image of the reflected scene where the camera stands in that plane and looks along it.
    """

    probability: float
    scene: SceneGeometry

    @classmethod
    def of(cls, config: AugmentationConfig, scene: SceneGeometry | None) -> "HorizontalFlip | None":
        """Return what `config` asks for. Raises `AugmentationRefusedError` where some camera does not allow it."""
        if not config.flip:
            return None
        if scene is None:
            raise AugmentationRefusedError(_CHANGE, "these cameras", "where they stand is not known", _OPTION)
        for name, camera in scene.cameras.items():
            _check_camera(name, camera, scene)
        check_mirrored_fields(scene, _OPTION)
        return cls(config.flip, scene)

    def drawn(self, rows: int, images: int, generator: np.random.Generator) -> NDArray[Any]:
        """Return which samples are mirrored, (rows,)."""
        return generator.uniform(size=rows) < self.probability

    def applied(self, samples: Samples, parameters: NDArray[Any]) -> Samples:
        """Return samples of which those chosen are mirrored, all images of a sample together."""
        chosen = parameters.astype(bool)
        images = np.where(chosen[:, None, None, None, None], samples.images[:, :, :, ::-1], samples.images)
        reflection = np.where(chosen[:, None, None], _reflection(self.scene), np.eye(3))
        motion = SceneMotion(self.scene, reflection, np.array(self.scene.robot_base_position_world), chosen)
        return replace(
            samples,
            images=images,
            actions=motion.actions(samples.actions),
            proprioception=motion.proprioception(samples.proprioception),
            instructions=tuple(
                mirrored_text(text) if flip else text for text, flip in zip(samples.instructions, chosen, strict=True)
            ),
        )

    def extremes(self, images: int) -> Iterable[NDArray[Any]]:
        """Yield the only change there is."""
        yield np.ones(1, dtype=bool)

    def texts(self, instruction: str) -> Iterable[str]:
        """Yield every text that `instruction` may become."""
        yield from (instruction, mirrored_text(instruction))

    def check(self, proprioception: NDArray[np.float32]) -> None:
        """Raise where recorded proprioception cannot be mirrored."""
        check_axis_angles(self.scene, proprioception, _CHANGE, _OPTION)


def _reflection(scene: SceneGeometry) -> FloatArray:
    normal = scene.robot_axes_world[:, 1]
    reflection: FloatArray = np.eye(3) - 2.0 * np.outer(normal, normal)
    return reflection


def _check_camera(name: str, camera: CameraGeometry, scene: SceneGeometry) -> None:
    normal = scene.robot_axes_world[:, 1]
    if camera.moves_with is not None:
        reason = f"it moves with {camera.moves_with}, so the middle of its image is not the robot's plane of symmetry"
        raise AugmentationRefusedError(_CHANGE, f"camera {name!r}", reason, _OPTION)
    off_deg = float(np.rad2deg(np.arccos(min(1.0, abs(float(camera.right_world @ normal))))))
    if off_deg > _NEAR_DEG:
        reason = f"its image's columns run {off_deg:.1f} degrees off the robot's left and right"
        raise AugmentationRefusedError(_CHANGE, f"camera {name!r}", reason, _OPTION)
    beside_m = abs(float(normal @ (np.array(camera.position_world) - np.array(scene.robot_base_position_world))))
    if beside_m > _NEAR_M:
        reason = f"it stands {beside_m:.3f} m beside the robot's plane of symmetry"
        raise AugmentationRefusedError(_CHANGE, f"camera {name!r}", reason, _OPTION)
