"""Scene geometry for augmentations: camera poses, robot symmetry, and scene motions in actions and proprioception."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.geometry import CameraGeometry, quat_wxyz_to_matrix
from vla_bench.core.registry import Registry
from vla_bench.core.types import FloatArray, ProprioceptionField


@dataclass(frozen=True)
class RobotSymmetry:
    """Symmetry of an arm under reflection in the vertical plane through its base: q' = sign * q + offset per joint."""

    end_effector_normal: tuple[float, float, float]  # of the hand's plane of symmetry, in the end-effector frame
    joint_signs: tuple[float, ...]
    joint_offsets_rad: tuple[float, ...]
    finger_order: tuple[int, ...]  # the finger whose position each finger takes
    finger_sign: float

    @property
    def end_effector_reflection(self) -> FloatArray:
        """Reflection matrix of the end-effector frame, (3, 3)."""
        normal = np.array(self.end_effector_normal)
        return np.eye(3) - 2.0 * np.outer(normal, normal)


robot_symmetries: Registry[RobotSymmetry] = Registry("robot with a known plane of symmetry")

# At zero the links are in one plane; joints 1, 3, 5 and 7 rotate out of that plane, and the hand is aligned with the
# plane at q7 = pi / 4. The end-effector frame is robosuite's grip site; the fingers move along its x axis with opposite
# signs.
robot_symmetries.register(
    RobotSymmetry(
        end_effector_normal=(1.0, 0.0, 0.0),
        joint_signs=(-1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0),
        joint_offsets_rad=(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, np.pi / 2),
        finger_order=(1, 0),
        finger_sign=-1.0,
    ),
    name="panda",
)


class AugmentationRefusedError(VlaBenchError):
    """An augmentation that would make images and actions inconsistent."""

    def __init__(self, change: str, of: str, reason: str, option: str) -> None:
        super().__init__(f"A {change} would not be exact for {of}: {reason}. Set {option} to 0, or leave out {of}.")


@dataclass(frozen=True)
class SceneGeometry:
    """Poses of cameras and robot base, and the proprioception fields."""

    cameras: Mapping[str, CameraGeometry]  # in the order of a sample's images
    robot_base_position_world: tuple[float, float, float]  # m
    robot_base_quat_wxyz_world: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    proprioception_fields: tuple[ProprioceptionField, ...] = ()  # in the order of the proprioception vector
    robot: RobotSymmetry | None = None  # None: no known symmetry

    @property
    def robot_axes_world(self) -> FloatArray:
        """Axes of the robot's base as columns, (3, 3): x forward, y left, z up."""
        return quat_wxyz_to_matrix(np.array(self.robot_base_quat_wxyz_world))


ORIENTATION_FIELD = "end_effector_axis_angle"
_QUATERNION_TIE = 1e-3  # components of a quaternion that differ by less are considered equal


@dataclass(frozen=True, eq=False)
class SceneMotion:
    """A rigid motion or reflection for each of B samples: x becomes linear (x - fixed_point) + fixed_point."""

    scene: SceneGeometry
    linear: FloatArray  # (B, 3, 3), orthogonal: a rotation, or a reflection
    fixed_point: FloatArray  # (3,) [m]
    mirrored: NDArray[np.bool_]  # (B,): True for reflections, which map the robot onto itself

    def actions(self, actions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the transformed actions (B, chunk, 7), in the axes of the robot's base.

        Rotations are pseudovectors: a reflection also negates them. The gripper command does not change.
        """
        axes = self.scene.robot_axes_world
        linear = axes.T @ self.linear @ axes
        turned = linear * np.linalg.det(linear)[:, None, None]
        moved = np.array(actions, dtype=np.float64)
        moved[..., :3] = np.einsum("bij,bkj->bki", linear, actions[..., :3])
        moved[..., 3:6] = np.einsum("bij,bkj->bki", turned, actions[..., 3:6])
        return moved.astype(np.float32)

    def proprioception(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the proprioception (B, P) in the transformed scene."""
        moved, start = np.array(values, dtype=np.float64), 0
        for field in self.scene.proprioception_fields:
            columns = slice(start, start + field.size)
            moved[:, columns] = _FIELD_MOTIONS[field.name](self, moved[:, columns])
            start += field.size
        return moved.astype(np.float32)

    def position(self, values: FloatArray) -> FloatArray:
        """Transform world positions, (B, 3)."""
        offset: FloatArray = np.einsum("bij,bj->bi", self.linear, values - self.fixed_point)
        return offset + self.fixed_point

    def orientation(self, values: FloatArray) -> FloatArray:
        """Transform end-effector orientations, (B, 3) axis-angle in the world frame."""
        moved = self.linear @ Rotation.from_rotvec(values).as_matrix()
        if self.scene.robot is not None:
            moved = np.where(self.mirrored[:, None, None], moved @ self.scene.robot.end_effector_reflection, moved)
        return np.where(self._unmoved[:, None], values, axis_angle_of(Rotation.from_matrix(moved)))

    def fingers(self, values: FloatArray) -> FloatArray:
        """Exchange the fingers of mirrored samples."""
        return self._mirrored(values, lambda robot: robot.finger_sign * values[:, robot.finger_order])

    def joints(self, values: FloatArray) -> FloatArray:
        """Mirror joint positions of mirrored samples."""
        return self._mirrored(
            values, lambda robot: np.array(robot.joint_signs) * values + np.array(robot.joint_offsets_rad)
        )

    def joint_velocities(self, values: FloatArray) -> FloatArray:
        """Mirror joint velocities of mirrored samples."""
        return self._mirrored(values, lambda robot: np.array(robot.joint_signs) * values)

    def _mirrored(self, values: FloatArray, change: Callable[[RobotSymmetry], FloatArray]) -> FloatArray:
        """Return `values` with `change` applied to the mirrored samples."""
        if self.scene.robot is None:  # then nothing is mirrored: see `check_mirrored_fields`
            return values
        return np.where(self.mirrored[:, None], change(self.scene.robot), values)

    @property
    def _unmoved(self) -> NDArray[np.bool_]:
        """Mask of the samples whose motion is the identity, (B,)."""
        unmoved: NDArray[np.bool_] = np.all(self.linear == np.eye(3), axis=(1, 2))
        return unmoved


_FIELD_MOTIONS: Mapping[str, Callable[[SceneMotion, FloatArray], FloatArray]] = {
    "end_effector_position": SceneMotion.position,
    ORIENTATION_FIELD: SceneMotion.orientation,
    "gripper_position": SceneMotion.fingers,
    "joint_positions": SceneMotion.joints,
    "joint_velocities": SceneMotion.joint_velocities,
}
_ROTATABLE_FIELDS = {"end_effector_position", ORIENTATION_FIELD, "gripper_position"}


def check_mirrored_fields(scene: SceneGeometry, option: str) -> None:
    """Raise `AugmentationRefusedError` if a proprioception field has no known reflection."""
    for field in scene.proprioception_fields:
        if field.name not in _FIELD_MOTIONS:
            raise AugmentationRefusedError(
                "mirror image", f"the proprioception field {field.name!r}", "its transformation is not known", option
            )
        if scene.robot is None and field.name != "end_effector_position":
            reason = "the robot has no known plane of symmetry (set `robot` to one that has)"
            raise AugmentationRefusedError("mirror image", f"the proprioception field {field.name!r}", reason, option)


def check_rotated_fields(scene: SceneGeometry, option: str) -> None:
    """Raise `AugmentationRefusedError` if a proprioception field cannot be rotated with the scene."""
    for field in scene.proprioception_fields:
        if field.name not in _ROTATABLE_FIELDS:
            reason = (
                "the robot's base does not rotate with the scene"
                if field.name in _FIELD_MOTIONS
                else "its transformation is not known"
            )
            raise AugmentationRefusedError("rotation", f"the proprioception field {field.name!r}", reason, option)


def axis_angle_of(rotations: Rotation) -> FloatArray:
    """Return axis times angle (B, 3) of the quaternions with positive largest component.

    This is the sign convention of the environments, which use MuJoCo's `mju_mat2Quat` (`vla_bench.core.geometry`).
    """
    quat = rotations.as_quat()  # xyzw
    largest = np.take_along_axis(quat, np.abs(quat).argmax(axis=1)[:, None], axis=1)
    quat = quat * np.sign(largest)
    sine = np.linalg.norm(quat[:, :3], axis=1)
    angle = 2.0 * np.arctan2(sine, quat[:, 3])
    axis_angle: FloatArray = quat[:, :3] * (angle / np.maximum(sine, 1e-12))[:, None]
    return axis_angle


def check_axis_angles(scene: SceneGeometry, proprioception: NDArray[np.float32], change: str, option: str) -> None:
    """Raise `AugmentationRefusedError` if recorded orientations differ in sign convention from `axis_angle_of`."""
    start = 0
    for field in scene.proprioception_fields:
        values = np.asarray(proprioception[:, start : start + field.size], dtype=np.float64)
        start += field.size
        if field.name != ORIENTATION_FIELD or not len(values):
            continue
        rotations = Rotation.from_rotvec(values)
        ordered = np.sort(np.abs(rotations.as_quat()), axis=1)
        clear = ordered[:, -1] - ordered[:, -2] > _QUATERNION_TIE
        wrong = clear & (np.abs(axis_angle_of(rotations) - values).max(axis=1) > 1e-2)
        if wrong.any():
            reason = (
                f"{wrong.sum()} of {len(values)} recorded rotations have the opposite sign to that of the environments"
            )
            raise AugmentationRefusedError(change, f"the proprioception field {field.name!r}", reason, option)
