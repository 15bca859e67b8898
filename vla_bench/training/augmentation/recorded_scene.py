"""Scene geometry of recorded demonstrations: camera and robot base poses as declared, or read from their MJCF.

Needs no simulator.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from xml.etree import ElementTree

import numpy as np
from scipy.spatial.transform import Rotation

from vla_bench.core.errors import ConventionError, UnknownNameError, VlaBenchError
from vla_bench.core.geometry import CameraGeometry, quat_wxyz_multiply, quat_wxyz_to_matrix
from vla_bench.core.types import FloatArray, ProprioceptionField
from vla_bench.demos.sources import DemonstrationSource
from vla_bench.training.augmentation.scene import SceneGeometry, robot_symmetries
from vla_bench.training.config import AugmentationConfig
from vla_bench.training.dataset import FrameSelection

_WRIST_CAMERA, _WRIST_CAMERA_SUFFIX = (
    "wrist",
    "eye_in_hand",
)  # name in observations, suffix of the name in robosuite's models
_ROBOT_BASE = re.compile(r"robot\d*_base")
_UNSUPPORTED_ORIENTATIONS = {"axisangle", "euler", "zaxis"}  # MuJoCo saves compiled models with quaternions only
_DEFAULT_FOVY_DEG = 45.0  # MuJoCo's


@dataclass(frozen=True, eq=False)
class _Frame:
    """Pose of a body in the world, and its nearest movable ancestor."""

    position: FloatArray
    quat_wxyz: FloatArray
    moves_with: str | None

    def within(self, element: ElementTree.Element) -> "_Frame":
        """Return the frame of a child, whose pose is relative to this frame."""
        position = self.position + quat_wxyz_to_matrix(self.quat_wxyz) @ _parse_floats(element.get("pos", "0 0 0"))
        quat = quat_wxyz_multiply(self.quat_wxyz, _orientation(element))
        return _Frame(position, quat / np.linalg.norm(quat), self.moves_with)


_WORLD = _Frame(np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]), None)


def camera_in_mjcf(xml: str, name: str) -> CameraGeometry:
    """Return the camera that observations call `name`. Raises `UnknownNameError` with the available cameras."""
    cameras = {str(element.get("name")): (frame, element) for frame, element in _elements(xml, "camera")}
    chosen = next((key for key in cameras if name == _WRIST_CAMERA and key.endswith(_WRIST_CAMERA_SUFFIX)), name)
    if chosen not in cameras:
        raise UnknownNameError("camera in the demonstrations' scene", name, cameras)
    frame, element = cameras[chosen]
    tracked = element.get("mode", "fixed")
    return CameraGeometry(
        position_world=_position(frame.position),
        quat_wxyz_world=_quaternion(frame.quat_wxyz),
        fovy_deg=float(element.get("fovy", _DEFAULT_FOVY_DEG)),
        moves_with=frame.moves_with if tracked == "fixed" else f"its target (mode {tracked})",
    )


def robot_base_in_mjcf(xml: str) -> tuple[tuple[float, float, float], tuple[float, float, float, float]]:
    """Return position and orientation (wxyz) of the robot's base."""
    bodies = {str(element.get("name")): frame for frame, element in _elements(xml, "body")}
    bases = [frame for name, frame in bodies.items() if _ROBOT_BASE.fullmatch(name)]
    if not bases:
        raise UnknownNameError("robot base in the demonstrations' scene", "robot_base", bodies)
    return _position(bases[0].position), _quaternion(bases[0].quat_wxyz)


def _elements(xml: str, tag: str) -> Iterator[tuple[_Frame, ElementTree.Element]]:
    world = ElementTree.fromstring(xml).find("worldbody")
    return iter(()) if world is None else _descendants(world, _WORLD, tag)


def _descendants(parent: ElementTree.Element, frame: _Frame, tag: str) -> Iterator[tuple[_Frame, ElementTree.Element]]:
    for element in parent:
        if element.tag not in (tag, "body"):
            continue
        own = frame.within(element)
        if element.tag == "body" and any(child.tag in ("joint", "freejoint") for child in element):
            own = _Frame(own.position, own.quat_wxyz, str(element.get("name")))
        if element.tag == tag:
            yield own, element
        if element.tag == "body":
            yield from _descendants(element, own, tag)


def _orientation(element: ElementTree.Element) -> FloatArray:
    if "xyaxes" in element.attrib:
        axes = _parse_floats(element.attrib["xyaxes"])
        x = axes[:3] / np.linalg.norm(axes[:3])
        y = axes[3:] - (axes[3:] @ x) * x
        y /= np.linalg.norm(y)
        return _quat_of_matrix(np.stack([x, y, np.cross(x, y)], axis=1))
    if unread := _UNSUPPORTED_ORIENTATIONS & element.attrib.keys():
        raise VlaBenchError(
            f"The scene of the demonstrations stores the orientation of {element.get('name')!r} as {unread.pop()}; "
            "this is not supported. Declare the camera under [augmentation.cameras]."
        )
    return _parse_floats(element.get("quat", "1 0 0 0"))


def _quat_of_matrix(matrix: FloatArray) -> FloatArray:
    x, y, z, w = Rotation.from_matrix(matrix).as_quat()
    return np.array([w, x, y, z])


def _parse_floats(text: str) -> FloatArray:
    return np.array([float(number) for number in text.split()])


def _position(values: FloatArray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _quaternion(values: FloatArray) -> tuple[float, float, float, float]:
    return float(values[0]), float(values[1]), float(values[2]), float(values[3])


T = TypeVar("T")


def scene_geometry_of(
    config: AugmentationConfig,
    sources: Sequence[DemonstrationSource],
    cameras: Sequence[str],
    proprioception: Sequence[ProprioceptionField],
    shown_robot: str | None = None,
) -> SceneGeometry:
    """Return the scene geometry shared by all demonstrations of `sources`: as declared, else as recorded.

    `shown_robot` is the recorded robot if known; the symmetry of another robot is not used. Raises `ConventionError`
    if the scenes differ, or if a pose is neither declared nor recorded.
    """
    undeclared = [name for name in cameras if name not in config.cameras]
    models = _scene_models(sources) if undeclared or config.robot_base_position_world is None else {}
    declared = {name: CameraGeometry(**camera.model_dump()) for name, camera in config.cameras.items()}
    found = {name: _common_value(name, models, [camera_in_mjcf(xml, name) for xml in models]) for name in undeclared}
    position = config.robot_base_position_world
    if position is None:
        base = _common_value("the robot's base", models, [robot_base_in_mjcf(xml) for xml in models])
    else:
        base = position, (1.0, 0.0, 0.0, 0.0)
    return SceneGeometry(
        cameras={name: declared.get(name) or found[name] for name in cameras},
        robot_base_position_world=base[0],
        robot_base_quat_wxyz_world=base[1],
        proprioception_fields=tuple(proprioception),
        robot=robot_symmetries[config.robot] if config.robot and shown_robot in (None, config.robot) else None,
    )


def proprioception_fields_of(source: DemonstrationSource, selection: FrameSelection) -> tuple[ProprioceptionField, ...]:
    """Return the selected fields as `source` describes them, in the order of the selection."""
    fields = {field.name: field for field in source.facts.proprioception_fields}
    return tuple(fields[name] for name in selection.proprioception)


def _scene_models(sources: Iterable[DemonstrationSource]) -> dict[str, str]:
    """Return each distinct scene (MJCF) with its first demonstration; empty if a source has no scene."""
    models: dict[str, str] = {}
    for source in sources:
        for episode in source.episodes:
            xml = source.model_xml(episode.name)
            if xml is None:
                return {}
            models.setdefault(xml, f"{source.path} {episode.name}")
    return models


def _common_value(what: str, models: Mapping[str, str], values: Sequence[T]) -> T:
    """Return the value common to all scenes."""
    if not values:
        raise ConventionError(
            f"The demonstrations contain no scene to read the pose of {what} from; declare it under [augmentation]."
        )
    for origin, value in zip(models.values(), values, strict=True):
        if value != values[0]:
            first = next(iter(models.values()))
            raise ConventionError(
                f"The pose of {what} differs between {first} and {origin}, so no flip or rotation is exact for both. "
                "Train on them separately or disable geometric augmentation."
            )
    return values[0]
