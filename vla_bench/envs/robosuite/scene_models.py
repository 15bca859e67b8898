"""The two MuJoCo models of a robosuite scene: one without visuals, for physics, and one for rendering."""

import gc
from copy import copy
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from vla_bench.core.cache import SizedCache
from vla_bench.envs.mjcf import VISUAL_GROUP, release_compiler_memory
from vla_bench.envs.options import Rendering
from vla_bench.envs.rendering.mesh_simplification import Tolerance, set_mesh_surface, simplify_mesh_file

# ~ The model that robosuite simulates, without what is only drawn: its meshes and textures fill 60 MB each time.

_PLACEHOLDER_VERTICES = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]) * 0.01  # m; of a mesh that nobody sees
_PLACEHOLDER_FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def strip_visuals(env: Any) -> str:
    """Let robosuite's environment simulate the same physics without pictures; return the MJCF of the whole scene."""
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
    gc.collect()  # a robosuite environment refers to itself: those that were closed are still there
    release_compiler_memory()
    return whole_xml


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


# ~ A second model for drawing only, so that simplified meshes cannot touch robosuite's physics.

_TOLERANCES: dict[Rendering, Tolerance] = {  # a pixel of `agentview` is 4 mm wide at 256 pixels
    "fast": Tolerance(share=1 / 100, least_m=0.001, most_m=0.005),
    "faithful": Tolerance(share=1 / 400, least_m=0.0002, most_m=0.002),
}
_CACHE_BYTES = 32_000_000  # of models that are drawn: one of robosuite's has 25


class RenderModel:
    """The scene as it is drawn; made when an image is first asked for."""

    def __init__(self, xml: str, rendering: Rendering, *, own_model: bool = False) -> None:
        self._xml, self._rendering, self._own_model = xml, rendering, own_model
        self._made: tuple[mujoco.MjModel, mujoco.MjData] | None = None

    @property
    def made(self) -> bool:
        """Whether anything was drawn yet."""
        return self._made is not None

    def at(self, model: mujoco.MjModel, data: mujoco.MjData) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Return the drawn scene in the state of the simulated one."""
        drawn, drawn_data = self._make()
        # robosuite moves what does not move, such as a door's frame, in the compiled model, and hides what is wiped.
        drawn.body_pos[:], drawn.body_quat[:], drawn.geom_rgba[:] = model.body_pos, model.body_quat, model.geom_rgba
        drawn_data.qpos[:] = data.qpos
        mujoco.mj_kinematics(drawn, drawn_data)
        mujoco.mj_camlight(drawn, drawn_data)
        return drawn, drawn_data

    def model(self) -> mujoco.MjModel:
        """Return the model that is drawn; with `own_model`, no other scene's."""
        return self._make()[0]

    def _make(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        if self._made is None:
            drawn = _render_model_cache(self._xml, self._rendering)
            drawn = copy(drawn) if self._own_model else drawn
            self._made = drawn, mujoco.MjData(drawn)
        return self._made


def _compile_and_release_memory(xml: str, rendering: Rendering) -> mujoco.MjModel:
    model = _compile(xml, rendering)
    release_compiler_memory()  # only now: the specification is gone
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
    """Simplify the meshes that are drawn."""
    textured = {material.name for material in spec.materials if any(material.textures)}
    drawn = [geom for geom in spec.geoms if geom.group == VISUAL_GROUP and geom.meshname]
    with_texture = {geom.meshname for geom in drawn if geom.material in textured}
    for mesh in spec.meshes:
        if mesh.name in {geom.meshname for geom in drawn} and mesh.file:
            scale = float(np.abs(mesh.scale).max())
            set_mesh_surface(
                simplify_mesh_file(Path(mesh.file), tolerance, scale=scale, textured=mesh.name in with_texture), mesh
            )


_render_model_cache = SizedCache(_compile_and_release_memory, lambda model: int(model.nbuffer), _CACHE_BYTES)
