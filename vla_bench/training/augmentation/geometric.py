"""Geometric augmentations: mirror images and rotations about the vertical, with action and instruction transformed."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from vla_bench.core.geometry import CameraGeometry
from vla_bench.core.types import FloatArray, ImageArray
from vla_bench.training.augmentation.samples import Samples
from vla_bench.training.augmentation.scene import (
    AugmentationRefusedError,
    SceneGeometry,
    SceneMotion,
    check_axis_angles,
    check_mirrored_fields,
    check_rotated_fields,
)
from vla_bench.training.config import AugmentationConfig

# ~ Words for directions, exchanged as the scene is mirrored or turned; whole words, in the case they were written.

_MIRRORED_WORDS = {"left": "right", "right": "left", "leftmost": "rightmost", "rightmost": "leftmost"} | {
    "leftward": "rightward",
    "rightward": "leftward",
    "leftwards": "rightwards",
    "rightwards": "leftwards",
    "clockwise": "counterclockwise",
    "counterclockwise": "clockwise",
    "anticlockwise": "clockwise",
}
_HALF_TURNED_WORDS = {
    word: other for word, other in _MIRRORED_WORDS.items() if "clockwise" not in word
} | {  # seen from above, a turn stays a turn
    "in front of": "behind",
    "behind": "in front of",
    "front": "back",
    "back": "front",
    "frontmost": "backmost",
    "backmost": "frontmost",
    "forward": "backward",
    "backward": "forward",
    "forwards": "backwards",
    "backwards": "forwards",
}


def mirror_text(text: str) -> str:
    """Return `text` with left and right exchanged."""
    return _replace_words(text, _MIRRORED_WORDS)


def half_turn_text(text: str) -> str:
    """Return `text` with left and right, front and back exchanged."""
    return _replace_words(text, _HALF_TURNED_WORDS)


def first_direction_word(text: str) -> str | None:
    """Return the first word for a direction in `text`."""
    found = _word_pattern(_HALF_TURNED_WORDS).search(text)
    return found.group(0) if found else None


def _replace_words(text: str, words: Mapping[str, str]) -> str:
    return _word_pattern(words).sub(lambda found: _match_case(found.group(0), words[found.group(0).lower()]), text)


def _word_pattern(words: Mapping[str, str]) -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(longest_first)})\b", re.IGNORECASE)


def _match_case(written: str, word: str) -> str:
    if written.isupper():
        return word.upper()
    return word.capitalize() if written[0].isupper() else word


# ~ Mirror images: the scene, the action and the instruction with left and right exchanged.

_FLIP, _FLIP_OPTION = "mirror image", "`flip`"
_MAX_PLANE_OFFSET_M = 1e-3  # beside the plane of symmetry
_MAX_PLANE_ANGLE_DEG = 0.1  # off its normal


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
            raise AugmentationRefusedError(_FLIP, "these cameras", "where they stand is not known", _FLIP_OPTION)
        for name, camera in scene.cameras.items():
            _check_camera_in_mirror_plane(name, camera, scene)
        check_mirrored_fields(scene, _FLIP_OPTION)
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
                mirror_text(text) if flip else text for text, flip in zip(samples.instructions, chosen, strict=True)
            ),
        )

    def extreme_parameters(self, images: int) -> Iterable[NDArray[Any]]:
        """Yield the only change there is."""
        yield np.ones(1, dtype=bool)

    def texts(self, instruction: str) -> Iterable[str]:
        """Yield every text that `instruction` may become."""
        yield from (instruction, mirror_text(instruction))

    def check(self, proprioception: NDArray[np.float32]) -> None:
        """Raise where recorded proprioception cannot be mirrored."""
        check_axis_angles(self.scene, proprioception, _FLIP, _FLIP_OPTION)


def _reflection(scene: SceneGeometry) -> FloatArray:
    normal = scene.robot_axes_world[:, 1]
    reflection: FloatArray = np.eye(3) - 2.0 * np.outer(normal, normal)
    return reflection


def _check_camera_in_mirror_plane(name: str, camera: CameraGeometry, scene: SceneGeometry) -> None:
    normal = scene.robot_axes_world[:, 1]
    if camera.moves_with is not None:
        reason = f"it moves with {camera.moves_with}, so the middle of its image is not the robot's plane of symmetry"
        raise AugmentationRefusedError(_FLIP, f"camera {name!r}", reason, _FLIP_OPTION)
    off_deg = float(np.rad2deg(np.arccos(min(1.0, abs(float(camera.right_world @ normal))))))
    if off_deg > _MAX_PLANE_ANGLE_DEG:
        reason = f"its image's columns run {off_deg:.1f} degrees off the robot's left and right"
        raise AugmentationRefusedError(_FLIP, f"camera {name!r}", reason, _FLIP_OPTION)
    beside_m = abs(float(normal @ (np.array(camera.position_world) - np.array(scene.robot_base_position_world))))
    if beside_m > _MAX_PLANE_OFFSET_M:
        reason = f"it stands {beside_m:.3f} m beside the robot's plane of symmetry"
        raise AugmentationRefusedError(_FLIP, f"camera {name!r}", reason, _FLIP_OPTION)


# ~ Turns about the vertical: the scene, the action and, for half turns, the instruction.

_ROTATION, _ROTATION_OPTION = "rotation", "`rotation_deg` and `half_turn`"
_MAX_TILT_DEG = 0.1  # off the vertical
_MAX_AXIS_OFFSET_M = 1e-3  # between the axes of two cameras


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
            raise AugmentationRefusedError(
                _ROTATION, "these cameras", "where they stand is not known", _ROTATION_OPTION
            )
        first = next(iter(scene.cameras.values()))
        for name, camera in scene.cameras.items():
            _check_camera_looks_down(name, camera, first)
        check_rotated_fields(scene, _ROTATION_OPTION)
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
            images=_rotate_images(samples.images, angles),
            actions=motion.actions(samples.actions),
            proprioception=motion.proprioception(samples.proprioception),
            instructions=tuple(half_turn_text(text) if turn else text for text, turn in texts),
        )

    def extreme_parameters(self, images: int) -> Iterable[NDArray[Any]]:
        """Yield both largest angles, and half a turn."""
        for angle in {self.largest_rad, -self.largest_rad} - {0.0}:
            yield np.array([[angle, 0.0]])
        if self.half_turn:
            yield np.array([[0.0, 1.0]])

    def texts(self, instruction: str) -> Iterable[str]:
        """Yield every text that `instruction` may become; raise where it names a direction that would turn."""
        word = first_direction_word(instruction)
        if self.largest_rad and word is not None:
            reason = f"{word!r} has no name after a turn by some degrees (half turns alone would do)"
            raise AugmentationRefusedError(_ROTATION, f"the instruction {instruction!r}", reason, "`rotation_deg`")
        yield instruction
        if self.half_turn:
            yield half_turn_text(instruction)

    def check(self, proprioception: NDArray[np.float32]) -> None:
        """Raise where recorded proprioception cannot be turned."""
        check_axis_angles(self.scene, proprioception, _ROTATION, _ROTATION_OPTION)


def _rotate_images(images: ImageArray, angles: NDArray[np.float64]) -> ImageArray:
    turned = np.empty_like(images)
    height, width = images.shape[2:4]
    for row, number in np.ndindex(images.shape[:2]):
        middle = ((width - 1) / 2, (height - 1) / 2)
        matrix = cv2.getRotationMatrix2D(middle, float(np.rad2deg(angles[row])), 1.0)
        turned[row, number] = cv2.warpAffine(images[row, number], matrix, (width, height), flags=cv2.INTER_LINEAR)
    return turned


def _check_camera_looks_down(name: str, camera: CameraGeometry, first: CameraGeometry) -> None:
    if camera.moves_with is not None:
        reason = f"it moves with {camera.moves_with}, so its optical axis is not the vertical of the scene"
        raise AugmentationRefusedError(_ROTATION, f"camera {name!r}", reason, _ROTATION_OPTION)
    off_deg = float(np.rad2deg(np.arccos(np.clip(-camera.view_world[2], -1.0, 1.0))))
    if off_deg > _MAX_TILT_DEG:
        reason = f"it looks {off_deg:.1f} degrees off straight down"
        raise AugmentationRefusedError(_ROTATION, f"camera {name!r}", reason, _ROTATION_OPTION)
    apart_m = float(np.linalg.norm((np.array(camera.position_world) - np.array(first.position_world))[:2]))
    if apart_m > _MAX_AXIS_OFFSET_M:
        reason = f"its optical axis lies {apart_m:.3f} m beside the first camera's"
        raise AugmentationRefusedError(_ROTATION, f"camera {name!r}", reason, _ROTATION_OPTION)
