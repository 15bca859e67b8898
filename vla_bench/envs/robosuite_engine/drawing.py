"""A second model for drawing only, so that simplified meshes cannot touch robosuite's physics."""

from copy import copy
from pathlib import Path

import mujoco
import numpy as np

from vla_bench.envs.bounded_meshes import Tolerance, put, within
from vla_bench.envs.compiler_memory import release_compiler_memory
from vla_bench.envs.kept import Kept
from vla_bench.envs.mjcf import VISUAL_GROUP
from vla_bench.envs.options import Rendering

_TOLERANCES: dict[Rendering, Tolerance] = {  # a pixel of `agentview` is 4 mm wide at 256 pixels
    "fast": Tolerance(share=1 / 100, least_m=0.001, most_m=0.005),
    "faithful": Tolerance(share=1 / 400, least_m=0.0002, most_m=0.002),
}
_MOST_KEPT_BYTES = 32_000_000  # of models that are drawn: one of robosuite's has 25


class DrawnScene:
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
            drawn = _drawn_model(self._xml, self._rendering)
            drawn = copy(drawn) if self._own_model else drawn
            self._made = drawn, mujoco.MjData(drawn)
        return self._made


def _compiled(xml: str, rendering: Rendering) -> mujoco.MjModel:
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
            put(within(Path(mesh.file), tolerance, scale=scale, textured=mesh.name in with_texture), mesh)


_drawn_model = Kept(_compiled, lambda model: int(model.nbuffer), _MOST_KEPT_BYTES)
