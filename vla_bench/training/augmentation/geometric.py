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

# Direction words that a mirror image or a half turn exchanges.
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
} | {  # a half turn about the vertical keeps the sense of rotation seen from above
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
    """Return `text` with left and right exchanged, in the case in which the words are written."""
    return _replace_words(text, _MIRRORED_WORDS)


def half_turn_text(text: str) -> str:
    """Return `text` with left and right, front and back exchanged."""
    return _replace_words(text, _HALF_TURNED_WORDS)


def first_direction_word(text: str) -> str | None:
    """Return the first direction word in `text`; None if there is none."""
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


_FLIP, _FLIP_OPTION = "mirror image", "`flip`"
_MAX_PLANE_OFFSET_M = 1e-3  # of the camera from the plane of symmetry
_MAX_PLANE_ANGLE_DEG = 0.1  # between the image's horizontal axis and the normal of the plane


@dataclass(frozen=True)
class HorizontalFlip:
    """Random reflection of samples in the robot's vertical plane of symmetry.

    A horizontally flipped image shows the reflected scene exactly if the camera is in that plane and looks along it.
    """

    probability: float
    scene: SceneGeometry

    @classmethod
    def of(cls, config: AugmentationConfig, scene: SceneGeometry | None) -> "HorizontalFlip | None":
        """Return the augmentation of `config`, None if it is disabled.

        Raises `AugmentationRefusedError` if it is not exact for some camera or proprioception field.
        """
        if not config.flip:
            return None
        if scene is None:
            raise AugmentationRefusedError(_FLIP, "these cameras", "their poses are not known", _FLIP_OPTION)
        for name, camera in scene.cameras.items():
            _check_camera_in_mirror_plane(name, camera, scene)
        check_mirrored_fields(scene, _FLIP_OPTION)
        return cls(config.flip, scene)

    def sample_parameters(self, samples: int, images: int, generator: np.random.Generator) -> NDArray[Any]:
        """Return a random mask of the samples to mirror, (samples,)."""
        return generator.uniform(size=samples) < self.probability

    def apply(self, samples: Samples, parameters: NDArray[Any]) -> Samples:
        """Return copies with the selected samples mirrored, all images of a sample together."""
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
        """Yield the reflection."""
        yield np.ones(1, dtype=bool)

    def texts(self, instruction: str) -> Iterable[str]:
        """Yield every text that `instruction` can become."""
        yield from (instruction, mirror_text(instruction))

    def check(self, proprioception: NDArray[np.float32]) -> None:
        """Raise `AugmentationRefusedError` if recorded proprioception cannot be mirrored."""
        check_axis_angles(self.scene, proprioception, _FLIP, _FLIP_OPTION)


def _reflection(scene: SceneGeometry) -> FloatArray:
    normal = scene.robot_axes_world[:, 1]
    reflection: FloatArray = np.eye(3) - 2.0 * np.outer(normal, normal)
    return reflection


def _check_camera_in_mirror_plane(name: str, camera: CameraGeometry, scene: SceneGeometry) -> None:
    normal = scene.robot_axes_world[:, 1]
    if camera.moves_with is not None:
        reason = f"it moves with {camera.moves_with}, so its image is not centered on the robot's plane of symmetry"
        raise AugmentationRefusedError(_FLIP, f"camera {name!r}", reason, _FLIP_OPTION)
    off_deg = float(np.rad2deg(np.arccos(min(1.0, abs(float(camera.right_world @ normal))))))
    if off_deg > _MAX_PLANE_ANGLE_DEG:
        reason = f"the horizontal axis of its image is {off_deg:.1f} degrees off the robot's left-right axis"
        raise AugmentationRefusedError(_FLIP, f"camera {name!r}", reason, _FLIP_OPTION)
    offset_m = abs(float(normal @ (np.array(camera.position_world) - np.array(scene.robot_base_position_world))))
    if offset_m > _MAX_PLANE_OFFSET_M:
        reason = f"it is {offset_m:.3f} m away from the robot's plane of symmetry"
        raise AugmentationRefusedError(_FLIP, f"camera {name!r}", reason, _FLIP_OPTION)


_ROTATION, _ROTATION_OPTION = "rotation", "`rotation_deg` and `half_turn`"
_MAX_TILT_DEG = 0.1  # between the optical axis and the vertical
_MAX_AXIS_OFFSET_M = 1e-3  # between the optical axes of two cameras


@dataclass(frozen=True)
class InPlaneRotation:
    """Random rotation of samples about the vertical optical axis of a camera that looks straight down.

    An image rotated about its center shows the scene rotated about the optical axis exactly, for that camera only.
    Corners without image content are black.
    """

    largest_rad: float
    half_turn: float  # probability
    scene: SceneGeometry

    @classmethod
    def of(cls, config: AugmentationConfig, scene: SceneGeometry | None) -> "InPlaneRotation | None":
        """Return the augmentation of `config`, None if it is disabled.

        Raises `AugmentationRefusedError` if it is not exact for some camera or proprioception field.
        """
        if not config.rotation_deg and not config.half_turn:
            return None
        if scene is None:
            raise AugmentationRefusedError(_ROTATION, "these cameras", "their poses are not known", _ROTATION_OPTION)
        first = next(iter(scene.cameras.values()))
        for name, camera in scene.cameras.items():
            _check_camera_looks_down(name, camera, first)
        check_rotated_fields(scene, _ROTATION_OPTION)
        return cls(float(np.deg2rad(config.rotation_deg)), config.half_turn, scene)

    def sample_parameters(self, samples: int, images: int, generator: np.random.Generator) -> NDArray[Any]:
        """Return random counterclockwise angles [rad] seen from above, and a mask of half turns, (samples, 2)."""
        angle = generator.uniform(-self.largest_rad, self.largest_rad, size=samples)
        return np.stack([angle, generator.uniform(size=samples) < self.half_turn], axis=1)

    def apply(self, samples: Samples, parameters: NDArray[Any]) -> Samples:
        """Return rotated copies."""
        half_turns = parameters[:, 1].astype(bool)
        angles = parameters[:, 0] + np.pi * half_turns
        linear = Rotation.from_rotvec(angles[:, None] * np.array([0.0, 0.0, 1.0])).as_matrix()
        linear[angles == 0.0] = np.eye(3)
        camera = next(iter(self.scene.cameras.values()))
        motion = SceneMotion(self.scene, linear, np.array(camera.position_world), np.zeros(len(angles), dtype=bool))
        texts = zip(samples.instructions, half_turns, strict=True)
        return replace(
            samples,
            images=_rotate_images(samples.images, angles),
            actions=motion.actions(samples.actions),
            proprioception=motion.proprioception(samples.proprioception),
            instructions=tuple(half_turn_text(text) if half else text for text, half in texts),
        )

    def extreme_parameters(self, images: int) -> Iterable[NDArray[Any]]:
        """Yield both largest angles, and the half turn."""
        for angle in {self.largest_rad, -self.largest_rad} - {0.0}:
            yield np.array([[angle, 0.0]])
        if self.half_turn:
            yield np.array([[0.0, 1.0]])

    def texts(self, instruction: str) -> Iterable[str]:
        """Yield every text that `instruction` can become.

        Raises `AugmentationRefusedError` if it contains a direction word and rotations are not limited to half turns.
        """
        word = first_direction_word(instruction)
        if self.largest_rad and word is not None:
            reason = f"{word!r} has no equivalent after a rotation by a few degrees (only half turns have one)"
            raise AugmentationRefusedError(_ROTATION, f"the instruction {instruction!r}", reason, "`rotation_deg`")
        yield instruction
        if self.half_turn:
            yield half_turn_text(instruction)

    def check(self, proprioception: NDArray[np.float32]) -> None:
        """Raise `AugmentationRefusedError` if recorded proprioception cannot be rotated."""
        check_axis_angles(self.scene, proprioception, _ROTATION, _ROTATION_OPTION)


def _rotate_images(images: ImageArray, angles: NDArray[np.float64]) -> ImageArray:
    rotated = np.empty_like(images)
    height, width = images.shape[2:4]
    for row, number in np.ndindex(images.shape[:2]):
        center = ((width - 1) / 2, (height - 1) / 2)
        matrix = cv2.getRotationMatrix2D(center, float(np.rad2deg(angles[row])), 1.0)
        rotated[row, number] = cv2.warpAffine(images[row, number], matrix, (width, height), flags=cv2.INTER_LINEAR)
    return rotated


def _check_camera_looks_down(name: str, camera: CameraGeometry, first: CameraGeometry) -> None:
    if camera.moves_with is not None:
        reason = f"it moves with {camera.moves_with}, so its optical axis is not vertical"
        raise AugmentationRefusedError(_ROTATION, f"camera {name!r}", reason, _ROTATION_OPTION)
    off_deg = float(np.rad2deg(np.arccos(np.clip(-camera.view_world[2], -1.0, 1.0))))
    if off_deg > _MAX_TILT_DEG:
        reason = f"its optical axis is {off_deg:.1f} degrees off the vertical"
        raise AugmentationRefusedError(_ROTATION, f"camera {name!r}", reason, _ROTATION_OPTION)
    distance_m = float(np.linalg.norm((np.array(camera.position_world) - np.array(first.position_world))[:2]))
    if distance_m > _MAX_AXIS_OFFSET_M:
        reason = f"its optical axis is {distance_m:.3f} m away from that of the first camera"
        raise AugmentationRefusedError(_ROTATION, f"camera {name!r}", reason, _ROTATION_OPTION)
