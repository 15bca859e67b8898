"""Compilation of a scene, a robot and named objects into a MuJoCo model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from vla_bench.core.cache import SizedCache
from vla_bench.core.env_options import Rendering
from vla_bench.core.errors import ConfigurationError
from vla_bench.core.types import FloatArray
from vla_bench.envs.descriptions import (
    ObjectDescription,
    PartDescription,
    RobotDescription,
    SceneDescription,
    describe_object,
    describe_robot,
    describe_scene,
    mjcf_path,
)
from vla_bench.envs.mjcf import VISUAL_GROUP, one_line, read_mjcf, release_compiler_memory
from vla_bench.envs.tabletop.robot_model import robot_spec

ROBOT_PREFIX = "robot_"
_COLORED = "body"  # prefix of the names of geoms that get the description's color
_ITEM_SITES = ("bottom", "top", "support")
_ROBOT_SITE = "robot_base"  # of a scene: the robot's mounting point
_CACHE_BYTES = 32_000_000  # of compiled models: a scene of the tabletop suites has 5 MB


@dataclass(frozen=True)
class CompiledScene:
    """A compiled model with its descriptions. The environments of a process share it, so it is never modified."""

    model: mujoco.MjModel
    scene: SceneDescription
    robot: RobotDescription
    objects: Mapping[str, ObjectDescription]
    xml: str

    def looks(self) -> dict[str, tuple[str, str]]:
        """Return noun and color of every item: the objects, then their parts, which have the objects' colors."""
        whole = {name: (object_.noun, object_.colour) for name, object_ in self.objects.items()}
        parts = {
            f"{name}_{part}": (description.noun, object_.colour)
            for name, object_ in self.objects.items()
            for part, description in object_.parts.items()
        }
        return whole | parts


def compile_scene(scene: str, robot: str, objects: Mapping[str, str], rendering: Rendering) -> CompiledScene:
    """Return the compiled scene from the process's cache, compiling it if needed."""
    return _scene_cache(scene, robot, tuple(objects.items()), rendering)


def item_prefix(item: str) -> str:
    """Return the prefix of the MuJoCo names of an item's elements."""
    return f"{item}/"


def _compile_and_release_memory(
    scene: str, robot: str, objects: tuple[tuple[str, str], ...], rendering: Rendering
) -> CompiledScene:
    compiled = _compile(scene, robot, objects, rendering)
    release_compiler_memory()  # only after the specification has been deleted
    return compiled


_scene_cache = SizedCache(_compile_and_release_memory, lambda compiled: int(compiled.model.nbuffer), _CACHE_BYTES)


def _compile(scene: str, robot: str, objects: tuple[tuple[str, str], ...], rendering: Rendering) -> CompiledScene:
    scene_description, robot_description = describe_scene(scene), describe_robot(robot)
    described = {name: describe_object(asset) for name, asset in objects}
    path = mjcf_path("scenes", scene_description.mjcf)
    spec = _parsed(path, sites=(_ROBOT_SITE,))
    for geom in spec.geoms:
        geom.group = VISUAL_GROUP
    spec.attach(robot_spec(robot, robot_description, rendering), site=spec.site(_ROBOT_SITE), prefix=ROBOT_PREFIX)
    if rendering == "fast":
        spec.visual.quality.offsamples = 0
    try:
        for name, description in described.items():
            _add_object(spec, name, description)
        model = spec.compile()
    except ValueError as error:
        problem = f"with {', '.join(described)} does not compile: {one_line(error)}"
        raise ConfigurationError(path, "(whole file)", problem) from None
    return CompiledScene(model, scene_description, robot_description, described, spec.to_xml())


def _parsed(path: Path, sites: tuple[str, ...] = ()) -> mujoco.MjSpec:
    """Read an MJCF file; raise `ConfigurationError` if it is not MJCF or lacks one of the `sites`."""
    spec = read_mjcf(path)
    for name in sites:
        if spec.site(name) is None:
            raise ConfigurationError(path, "site", f"{name!r} is missing", f"sites {', '.join(sites)}")
    return spec


def _add_object(spec: mujoco.MjSpec, name: str, description: ObjectDescription) -> None:
    path = mjcf_path("objects", description.mjcf)
    part = _parsed(path, sites=_ITEM_SITES)
    for part_name, part_description in description.parts.items():
        _check_part(path, part, part_name, part_description)
    if not any(geom.name.startswith(_COLORED) for geom in part.geoms):
        names = ", ".join(geom.name for geom in part.geoms if geom.name) or "none"
        problem = f"no name begins with {_COLORED!r}, so no geom gets the color of the description (names: {names})"
        raise ConfigurationError(path, "geom", problem, f"{_COLORED} or {_COLORED}_<suffix>")
    for geom in part.geoms:
        geom.group = VISUAL_GROUP
        if geom.name.startswith(_COLORED):
            geom.rgba = np.array(description.rgba)
    root = part.worldbody.first_body()
    body = spec.worldbody.add_frame().attach_body(root, item_prefix(name), "")
    body.name = name
    if description.fixed:
        body.mocap = True  # makes its pose a part of the state, although nothing moves it
    else:
        joint = body.add_freejoint()
        joint.name = f"{name}/free"


def _check_part(path: Path, spec: mujoco.MjSpec, name: str, description: PartDescription) -> None:
    """Raise `ConfigurationError` if the MJCF lacks an element that a part's description names."""
    if spec.site(name) is None and spec.body(name) is None:
        raise ConfigurationError(path, name, "no body or site has this name", "a body or site for each described part")
    wanted = [f"{name}_{site}" for site in _ITEM_SITES] if spec.site(name) is None else []
    joint = description.joint
    wanted += [joint.handle] if joint else []
    for site in wanted:
        if spec.site(site) is None:
            raise ConfigurationError(path, "site", f"{site!r} is missing", f"sites {', '.join(wanted)}")
    if joint and spec.joint(joint.joint) is None:
        known = ", ".join(known.name for known in spec.joints)
        raise ConfigurationError(path, "joint", f"{joint.joint!r} is missing, though part {name!r} names it", known)


def horizontal_radius(model: mujoco.MjModel, item: str) -> float:
    """Return the largest horizontal distance of an item's solid geometry from its origin [m], upright."""
    body = model.body(item).id
    corners = [_geom_corners(model, geom) for geom in np.flatnonzero(model.geom_bodyid == body)]
    return float(np.linalg.norm(np.concatenate(corners)[:, :2], axis=1).max())


def _geom_corners(model: mujoco.MjModel, geom: int) -> FloatArray:
    center, half_size = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
    corners: FloatArray = (center + signs * half_size) @ rotation.reshape(3, 3).T + model.geom_pos[geom]
    if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CYLINDER:
        # The box around a cylinder overstates its radius by sqrt 2.
        planar = corners[:, :2] - model.geom_pos[geom, :2]
        corners[:, :2] = model.geom_pos[geom, :2] + planar / np.sqrt(2)
    return corners
