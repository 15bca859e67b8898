"""Shadows equal those of MuJoCo's own map, with fewer texels rendered once for all cameras."""

import mujoco
import numpy as np
import pytest

from vla_bench.core.types import ImageArray
from vla_bench.envs.rendering import level_of_detail, renderer
from vla_bench.envs.rendering.backend import load_mujoco
from vla_bench.envs.rendering.renderer import Renderer
from vla_bench.envs.rendering.shadow_map import OWN_TEXELS, ShadowMap, supports_shadow_map

load_mujoco()

_SIZE = 96  # pixels
_CAMERAS = {"far": "far", "near": "near"}
_KINDS = {
    "sphere": 'type="sphere" size="0.06"',
    "ellipsoid": 'type="ellipsoid" size="0.04 0.06 0.09"',
    "capsule": 'type="capsule" size="0.03 0.09"',
    "cylinder": 'type="cylinder" size="0.05 0.08"',
    "box": 'type="box" size="0.04 0.06 0.08"',
    "mesh": 'type="mesh" mesh="wedge"',
}
_XML = """
<mujoco>
  <visual><quality shadowsize="4096"/></visual>
  <statistic extent="2"/>
  <asset><mesh name="wedge" vertex="0 0 0  0.2 0 0  0 0.2 0  0 0 0.2"/></asset>
  <worldbody>
    {lights}
    <geom type="plane" size="3 3 0.1" group="1" rgba="0.5 0.5 0.5 1"/>
    <body name="thing" pos="0.05 0 0.3" euler="20 30 10"><freejoint/>
      <geom {kind} group="1" rgba="0.9 0.3 0.2 1" mass="1"/>
    </body>
    <geom type="box" size="0.1 0.1 0.02" pos="-0.2 -0.1 0.02" group="1"/>
    <camera name="far" pos="0 -0.9 0.9" xyaxes="1 0 0 0 0.8 0.6"/>
    <camera name="near" pos="0 0 0.8" fovy="50"/>
  </worldbody>
</mujoco>
"""
_SUN = '<light directional="true" pos="0.5 0.5 2" dir="-0.3 -0.2 -0.9" diffuse="0.6 0.6 0.6"/>'


def _model(kind: str = "box", lights: str = _SUN) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(_XML.format(kind=_KINDS[kind], lights=lights))


def _settled(model: mujoco.MjModel) -> mujoco.MjData:
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return data


def _drawn(
    model: mujoco.MjModel, data: mujoco.MjData, patch: pytest.MonkeyPatch, *, ours: bool
) -> dict[str, ImageArray]:
    with patch.context() as context:
        for module in (renderer, level_of_detail):
            context.setattr(module, "supports_shadow_map", lambda _: ours)
        return Renderer(model, _SIZE, "faithful").images(data, _CAMERAS)


def _different(first: ImageArray, second: ImageArray) -> int:
    return int((np.abs(first.astype(int) - second).max(axis=-1) > 8).sum())


@pytest.mark.parametrize("kind", _KINDS)
def test_shadows_equal_those_of_mujoco(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model(kind)
    data = _settled(model)
    drawn = Renderer(model, _SIZE, "faithful")
    for _ in range(2):  # the second time with other poses and another light
        ours, wanted = drawn.images(data, _CAMERAS), _drawn(model, data, monkeypatch, ours=False)
        for camera in _CAMERAS:
            assert _different(ours[camera], wanted[camera]) <= 6  # of 9216 pixels: those at the edge of a texel
        data.qpos[:3] += (0.1, 0.05, 0.1)
        model.light_dir[0] = (0.1, -0.4, -0.8)
        mujoco.mj_forward(model, data)


@pytest.mark.parametrize("kind", _KINDS)
def test_each_kind_of_geom_casts_a_shadow(kind: str) -> None:
    model = _model(kind)
    data = _settled(model)
    drawn = Renderer(model, _SIZE, "faithful")
    with_shadow = drawn.images(data, _CAMERAS)["far"]
    drawn._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
    assert _different(with_shadow, drawn.images(data, _CAMERAS)["far"]) > 40


def test_few_texels_are_rendered_once_for_all_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    sides: list[int] = []
    raster = ShadowMap._raster

    def counted(self: ShadowMap, casters: object, cut: tuple[int, int, int], *arguments: object) -> None:
        sides.append(cut[2])
        raster(self, casters, cut, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ShadowMap, "_raster", counted)
    model = _model()
    drawn = Renderer(model, _SIZE, "faithful")
    drawn.images(_settled(model), _CAMERAS)
    assert len(sides) == 1
    assert sides[0] <= 1024 < model.vis.quality.shadowsize
    assert drawn._context.shadowSize == OWN_TEXELS


def test_everything_is_lit_without_casters(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model()
    model.geom_group[1:] = 0  # hides everything except the floor
    data = _settled(model)
    ours, wanted = (_drawn(model, data, monkeypatch, ours=which) for which in (True, False))
    assert all(np.array_equal(ours[camera], wanted[camera]) for camera in _CAMERAS)


@pytest.mark.parametrize(
    ("lights", "ours"),
    [
        (_SUN, True),
        (_SUN + '<light pos="0 0 2" castshadow="false"/>', True),
        (_SUN + _SUN, False),
        ('<light pos="0 0 2" dir="0 0 -1"/>', False),
        ('<light directional="true" dir="0 0 -1" castshadow="false"/>', False),
    ],
    ids=["sun", "sun and lamp", "two suns", "spot", "no shadows"],
)
def test_only_one_directional_light_is_supported(lights: str, ours: bool) -> None:
    model = _model(lights=lights)
    assert supports_shadow_map(model) == ours
    images = Renderer(model, _SIZE, "faithful").images(_settled(model), _CAMERAS)
    assert all(image.std() > 5 for image in images.values())
