"""Level of detail per rendering quality, and restoration of the model."""

import mujoco
import numpy as np
import pytest

from vla_bench.envs.rendering.backend import load_mujoco
from vla_bench.envs.rendering.level_of_detail import casts_shadows, has_mirror, reduced_detail

load_mujoco()

_XML = """
<mujoco>
  <asset>
    <texture name="large" type="2d" builtin="checker" rgb1="1 0 0" rgb2="0 0 1" width="1024" height="700"/>
    <texture name="small" type="2d" builtin="flat" rgb1="0 1 0" width="64" height="64"/>
    <material name="floor" texture="large" reflectance="{reflectance}"/>
  </asset>
  <worldbody>
    <light pos="0 0 3" castshadow="{shadow}"/>
    <geom type="plane" size="3 3 0.1" material="floor" group="1"/>
    <geom type="{kind}" size="0.1 0.2 0.3" group="1" pos="0 0 1"/>
  </worldbody>
</mujoco>
"""


def _model(kind: str = "cylinder", reflectance: float = 0.0, shadow: str = "true") -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(_XML.format(kind=kind, reflectance=reflectance, shadow=shadow))


@pytest.mark.parametrize("rendering", ["fast", "faithful"])
def test_the_model_is_restored_afterwards(rendering: str) -> None:
    model, untouched = _model(), _model()
    with pytest.raises(ZeroDivisionError), reduced_detail(model, 64, rendering):
        assert model.vis.quality.numquads == (1 if rendering == "fast" else untouched.vis.quality.numquads)
        raise ZeroDivisionError
    size = mujoco.mj_sizeModel(model)
    restored, expected = (np.empty(size, dtype=np.uint8) for _ in range(2))
    mujoco.mj_saveModel(model, None, restored)
    mujoco.mj_saveModel(untouched, None, expected)
    assert np.array_equal(restored, expected)


def test_large_textures_are_averaged() -> None:
    model = _model()
    begin = int(model.tex_adr[0])
    with reduced_detail(model, 64, "fast"):
        assert (model.tex_width[0], model.tex_height[0]) == (512, 350)
        assert (model.tex_width[1], model.tex_height[1]) == (64, 64)
        small = model.tex_data[begin : begin + 512 * 350 * 3].reshape(350, 512, 3).copy()
    whole = model.tex_data[begin : begin + 1024 * 700 * 3].reshape(700, 1024, 3)
    assert np.array_equal(small[::7, ::5], whole.reshape(350, 2, 512, 2, 3).mean(axis=(1, 3)).round()[::7, ::5])
    with reduced_detail(model, 64, "faithful"):
        assert model.tex_width[0] == 1024


@pytest.mark.parametrize(
    ("kind", "divided"), [("cylinder", False), ("box", False), ("sphere", True), ("capsule", True)]
)
def test_only_round_geoms_are_subdivided_into_many_rings(kind: str, divided: bool) -> None:
    model = _model(kind)
    rings = model.vis.quality.numstacks
    with reduced_detail(model, 64, "fast"):
        assert (model.vis.quality.numstacks == rings) == divided


def test_a_shadow_map_is_allocated_only_if_a_light_casts_shadows() -> None:
    for shadow, rendering, wanted in (
        ("true", "faithful", True),
        ("true", "fast", False),
        ("false", "faithful", False),
    ):
        model = _model(shadow=shadow)
        assert casts_shadows(model) == (shadow == "true")
        with reduced_detail(model, 64, rendering):
            assert (model.vis.quality.shadowsize > 0) == wanted


@pytest.mark.parametrize(("reflectance", "worth"), [(0.0, False), (0.01, False), (0.3, True)])
def test_a_reflectance_of_one_percent_is_no_mirror(reflectance: float, worth: bool) -> None:
    assert has_mirror(_model(reflectance=reflectance)) == worth
