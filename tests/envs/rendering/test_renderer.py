"""The renderer follows changes of the model and renders several cameras at once."""

import mujoco
import numpy as np

from vla_bench.envs.rendering.backend import load_mujoco
from vla_bench.envs.rendering.renderer import Renderer

load_mujoco()

_XML = """
<mujoco>
  <asset>
    <texture name="squares" type="2d" builtin="checker" rgb1="1 0 0" rgb2="0 0 1" width="64" height="64"/>
    <material name="floor" texture="squares" texrepeat="2 2"/>
  </asset>
  <worldbody>
    <light pos="0 0 3"/>
    <camera name="first" pos="0 0 2"/>
    <camera name="second" pos="0.5 0 1"/>
    <geom type="plane" size="3 3 0.1" material="floor" group="1"/>
  </worldbody>
</mujoco>
"""


def test_a_changed_texture_repeat_is_rendered() -> None:
    model = mujoco.MjModel.from_xml_string(_XML)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = Renderer(model, 64, "fast")
    before = renderer.images(data, {"view": "first"})["view"]
    model.mat_texrepeat[0] *= 3  # as the texture perturbation does
    after = renderer.images(data, {"view": "first"})["view"]
    assert not np.array_equal(before, after)
    assert np.array_equal(after, Renderer(model, 64, "fast").images(data, {"view": "first"})["view"])


def test_cameras_rendered_together_equal_those_rendered_alone() -> None:
    model = mujoco.MjModel.from_xml_string(_XML)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    for rendering in ("fast", "faithful"):
        renderer = Renderer(model, 64, rendering)
        together = renderer.images(data, {"a": "first", "b": "second"})
        assert not np.array_equal(together["a"], together["b"])
        for key, camera in (("a", "first"), ("b", "second")):
            assert np.array_equal(together[key], renderer.images(data, {"x": camera})["x"])
