"""Where cameras and robot stand, read from the MJCF that a demonstration was recorded with. Needs no simulator."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
from scipy.spatial.transform import Rotation

from vla_bench.core.cameras import CameraGeometry
from vla_bench.core.errors import UnknownNameError, VlaBenchError
from vla_bench.core.rotations import quat_wxyz_multiply, quat_wxyz_to_matrix
from vla_bench.core.types import FloatArray

_WRIST, _WRIST_IN_MODEL = "wrist", "eye_in_hand"  # what ours and robosuite's is called in the model
_ROBOT_BASE = re.compile(r"robot\d*_base")
_UNREAD_ORIENTATIONS = {"axisangle", "euler", "zaxis"}  # MuJoCo writes compiled models with quaternions
_DEFAULT_FOVY_DEG = 45.0  # MuJoCo's


@dataclass(frozen=True, eq=False)
class _Frame:
    """A body's pose in the world, and the nearest moving body that it hangs on."""

    position: FloatArray
    quat_wxyz: FloatArray
    moves_with: str | None

    def within(self, element: ElementTree.Element) -> "_Frame":
        """Return the frame of a child, whose pose is written relative to this one."""
        position = self.position + quat_wxyz_to_matrix(self.quat_wxyz) @ _numbers(element.get("pos", "0 0 0"))
        quat = quat_wxyz_multiply(self.quat_wxyz, _quat(element))
        return _Frame(position, quat / np.linalg.norm(quat), self.moves_with)


_WORLD = _Frame(np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]), None)


def camera_in_mjcf(xml: str, name: str) -> CameraGeometry:
    """Return the camera that observations call `name`. Raises `UnknownNameError` listing those that are there."""
    cameras = {str(element.get("name")): (frame, element) for frame, element in _elements(xml, "camera")}
    chosen = next((key for key in cameras if name == _WRIST and key.endswith(_WRIST_IN_MODEL)), name)
    if chosen not in cameras:
        raise UnknownNameError("camera in the demonstrations' scene", name, cameras)
    frame, element = cameras[chosen]
    tracked = element.get("mode", "fixed")
    return CameraGeometry(
        position_world=_three(frame.position),
        quat_wxyz_world=_four(frame.quat_wxyz),
        fovy_deg=float(element.get("fovy", _DEFAULT_FOVY_DEG)),
        moves_with=frame.moves_with if tracked == "fixed" else f"its target (mode {tracked})",
    )


def robot_base_in_mjcf(xml: str) -> tuple[tuple[float, float, float], tuple[float, float, float, float]]:
    """Return position and orientation of the robot's base."""
    bodies = {str(element.get("name")): frame for frame, element in _elements(xml, "body")}
    bases = [frame for name, frame in bodies.items() if _ROBOT_BASE.fullmatch(name)]
    if not bases:
        raise UnknownNameError("robot base in the demonstrations' scene", "robot_base", bodies)
    return _three(bases[0].position), _four(bases[0].quat_wxyz)


def _elements(xml: str, tag: str) -> Iterator[tuple[_Frame, ElementTree.Element]]:
    world = ElementTree.fromstring(xml).find("worldbody")
    return iter(()) if world is None else _below(world, _WORLD, tag)


def _below(parent: ElementTree.Element, frame: _Frame, tag: str) -> Iterator[tuple[_Frame, ElementTree.Element]]:
    for element in parent:
        if element.tag not in (tag, "body"):
            continue
        own = frame.within(element)
        if element.tag == "body" and any(child.tag in ("joint", "freejoint") for child in element):
            own = _Frame(own.position, own.quat_wxyz, str(element.get("name")))
        if element.tag == tag:
            yield own, element
        if element.tag == "body":
            yield from _below(element, own, tag)


def _quat(element: ElementTree.Element) -> FloatArray:
    if "xyaxes" in element.attrib:
        axes = _numbers(element.attrib["xyaxes"])
        x = axes[:3] / np.linalg.norm(axes[:3])
        y = axes[3:] - (axes[3:] @ x) * x
        y /= np.linalg.norm(y)
        return _quat_of_matrix(np.stack([x, y, np.cross(x, y)], axis=1))
    if unread := _UNREAD_ORIENTATIONS & element.attrib.keys():
        raise VlaBenchError(
            f"The demonstrations' scene writes the orientation of {element.get('name')!r} as {unread.pop()}, which is "
            "not read here; give the camera under [augmentation.cameras] instead."
        )
    return _numbers(element.get("quat", "1 0 0 0"))


def _quat_of_matrix(matrix: FloatArray) -> FloatArray:
    x, y, z, w = Rotation.from_matrix(matrix).as_quat()
    return np.array([w, x, y, z])


def _numbers(text: str) -> FloatArray:
    return np.array([float(number) for number in text.split()])


def _three(values: FloatArray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _four(values: FloatArray) -> tuple[float, float, float, float]:
    return float(values[0]), float(values[1]), float(values[2]), float(values[3])
