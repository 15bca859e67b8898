"""The two MuJoCo models of a robosuite scene: one without visuals, for physics, and one for rendering."""

import gc
from copy import copy
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from vla_bench.core.cache import SizedCache
from vla_bench.core.env_options import Rendering
from vla_bench.envs.mjcf import VISUAL_GROUP, release_compiler_memory
from vla_bench.envs.rendering.mesh_simplification import Tolerance, set_mesh_surface, simplify_mesh_file

_PLACEHOLDER_VERTICES = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]) * 0.01  # m; of a mesh without use
_PLACEHOLDER_FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
_TOLERANCES: dict[Rendering, Tolerance] = {  # a pixel of `agentview` is 4 mm wide at 256 pixels
    "fast": Tolerance(share=1 / 100, least_m=0.001, most_m=0.005),
    "faithful": Tolerance(share=1 / 400, least_m=0.0002, most_m=0.002),
}
_CACHE_BYTES = 32_000_000  # of render models: one of robosuite's has 25 MB


def strip_visuals(env: Any) -> str:
    """Replace the environment's model by one with the same physics but without visuals; return the complete MJCF.

    The meshes and textures that are only rendered take 60 MB in each environment.
    """
    whole_xml: str = env.sim.model.get_xml()
    xml = env.model.get_xml()
    for processor in env._xml_processors:
        xml = processor(xml)
    env.sim = type(env.sim)(_without_visuals(xml))
    env.sim.forward()
    env.initialize_time(env.control_freq)
    env.reset()
    for robot in env.robots:
        robot.robot_model.mujoco_model = None  # 44 MB, which only whole-body inverse kinematics reads
    gc.collect()  # frees closed robosuite environments, which contain reference cycles
    release_compiler_memory()
    return whole_xml


class RenderModel:
    """The model that is rendered, compiled for the first image.

    It is separate from the simulated model, so that simplified meshes cannot change the physics.
    """

    def __init__(self, xml: str, rendering: Rendering, *, own_model: bool = False) -> None:
        self._xml, self._rendering, self._own_model = xml, rendering, own_model
        self._made: tuple[mujoco.MjModel, mujoco.MjData] | None = None

    @property
    def made(self) -> bool:
        """Return whether the model has been compiled."""
        return self._made is not None

    def at(self, model: mujoco.MjModel, data: mujoco.MjData) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Return the render model and its data in the state of the simulated model."""
        rendered, rendered_data = self._make()
        # In the compiled model, robosuite moves fixed bodies, such as a door's frame, and hides wiped markers.
        rendered.body_pos[:], rendered.body_quat[:] = model.body_pos, model.body_quat
        rendered.geom_rgba[:] = model.geom_rgba
        rendered_data.qpos[:] = data.qpos
        mujoco.mj_kinematics(rendered, rendered_data)
        mujoco.mj_camlight(rendered, rendered_data)
        return rendered, rendered_data

    def model(self) -> mujoco.MjModel:
        """Return the render model; with `own_model`, no other environment shares it."""
        return self._make()[0]

    def _make(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        if self._made is None:
            rendered = _render_model_cache(self._xml, self._rendering)
            rendered = copy(rendered) if self._own_model else rendered
            self._made = rendered, mujoco.MjData(rendered)
        return self._made


def _without_visuals(xml: str) -> mujoco.MjModel:
    spec = mujoco.MjSpec.from_string(xml)
    solid = {geom.meshname for geom in spec.geoms if geom.contype or geom.conaffinity}
    for mesh in spec.meshes:
        if mesh.name not in solid:
            mesh.file, mesh.uservert, mesh.userface = "", _PLACEHOLDER_VERTICES.ravel(), _PLACEHOLDER_FACES.ravel()
    for texture in spec.textures:
        texture.file, texture.builtin, texture.width, texture.height = "", mujoco.mjtBuiltin.mjBUILTIN_FLAT, 1, 1
        texture.cubefiles = [""] * 6
    return spec.compile()


def _compile_and_release_memory(xml: str, rendering: Rendering) -> mujoco.MjModel:
    model = _compile(xml, rendering)
    release_compiler_memory()  # after the specification was freed
    return model


def _compile(xml: str, rendering: Rendering) -> mujoco.MjModel:
    spec = mujoco.MjSpec.from_string(xml)
    for site in spec.sites:
        site.rgba = np.zeros(4)
    if rendering == "fast":
        spec.visual.quality.offsamples = 0
    _simplify(spec, _TOLERANCES[rendering])
    return spec.compile()


def _simplify(spec: mujoco.MjSpec, tolerance: Tolerance) -> None:
    """Simplify the visual meshes."""
    textured = {material.name for material in spec.materials if any(material.textures)}
    visual = [geom for geom in spec.geoms if geom.group == VISUAL_GROUP and geom.meshname]
    with_texture = {geom.meshname for geom in visual if geom.material in textured}
    for mesh in spec.meshes:
        if mesh.name in {geom.meshname for geom in visual} and mesh.file:
            scale = float(np.abs(mesh.scale).max())
            set_mesh_surface(
                simplify_mesh_file(Path(mesh.file), tolerance, scale=scale, textured=mesh.name in with_texture), mesh
            )


_render_model_cache = SizedCache(_compile_and_release_memory, lambda model: int(model.nbuffer), _CACHE_BYTES)
