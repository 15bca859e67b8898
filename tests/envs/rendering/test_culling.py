"""Culling of invisible geoms changes no pixel."""

import mujoco
import numpy as np
import pytest

from vla_bench.core.types import ImageArray
from vla_bench.envs.rendering.backend import load_mujoco
from vla_bench.envs.rendering.culling import SceneGeoms

load_mujoco()

_SIZE = 64  # pixels


def _model(generator: np.random.Generator, reflectance: float = 0.0) -> mujoco.MjModel:
    """Spheres, boxes and capsules all around a camera, some half in view, above a floor."""
    geoms = [
        f'<geom type="{generator.choice(["sphere", "box", "capsule"])}" size="{" ".join(map(str, size))}" '
        f'pos="{" ".join(map(str, place))}" rgba="{" ".join(map(str, colour))} 1"/>'
        for size, place, colour in zip(
            generator.uniform(0.05, 0.5, (60, 3)),
            generator.uniform(-4, 4, (60, 3)),
            generator.uniform(0, 1, (60, 3)),
            strict=True,
        )
    ]
    camera = f'<camera name="eye" euler="{" ".join(map(str, generator.uniform(-180, 180, 3)))}" fovy="50"/>'
    mirror = f'<asset><material name="mirror" rgba="0.3 0.3 0.3 1" reflectance="{reflectance}"/></asset>'
    floor = '<geom type="plane" size="0 0 1" pos="0 0 -5" material="mirror"/>'
    body = f"<worldbody><light pos='0 0 9'/>{floor}{camera}{''.join(geoms)}</worldbody>"
    return mujoco.MjModel.from_xml_string(f"<mujoco>{mirror}{body}</mujoco>")


@pytest.mark.parametrize("seed", range(12))
def test_culled_geoms_were_not_in_the_image(seed: int) -> None:
    model = _model(np.random.default_rng(seed))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, _SIZE, _SIZE) as renderer:
        renderer.update_scene(data, camera="eye")
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            renderer.scene.flags[flag] = False
        whole: ImageArray = renderer.render().copy()
        geoms = SceneGeoms(renderer.scene)
        before = set(geoms.all()["objid"].tolist())
        geoms.cull()
        assert np.array_equal(renderer.render(), whole)
        kept = geoms.all()
        assert set(kept["objid"].tolist()) < before
        assert len(kept) < len(before) / 2  # the view is a tenth of the sphere
        camera = renderer.scene.camera[0]
        ahead = (kept["pos"] - camera.pos) @ camera.forward
        assert np.all(np.diff(ahead[kept["modelrbound"] > 0]) >= 0)
        assert kept["type"][-1] == mujoco.mjtGeom.mjGEOM_PLANE


@pytest.mark.parametrize("seed", range(6))
def test_geoms_visible_in_a_mirror_are_kept(seed: int) -> None:
    model = _model(np.random.default_rng(seed), reflectance=0.5)
    data = mujoco.MjData(model)
    model.cam_quat[0] = (np.cos(0.3), np.sin(0.3), 0.0, 0.0)  # it looks down
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, _SIZE, _SIZE) as renderer:
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
        renderer.update_scene(data, camera="eye")
        whole: ImageArray = renderer.render().copy()
        geoms = SceneGeoms(renderer.scene)
        geoms.cull(reflections=True)
        assert renderer.scene.ngeom < 61
        assert np.array_equal(renderer.render(), whole)
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        assert not np.array_equal(renderer.render(), whole)  # there was a mirror


def test_the_array_has_the_layout_of_mjv_geom() -> None:
    model = _model(np.random.default_rng(0))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    scene = mujoco.MjvScene(model, maxgeom=80)
    option, camera, every = mujoco.MjvOption(), mujoco.MjvCamera(), mujoco.mjtCatBit.mjCAT_ALL.value
    mujoco.mjv_updateScene(model, data, option, None, camera, every, scene)
    rows = SceneGeoms(scene).all()
    assert len(rows) == scene.ngeom == 61
    for row, geom in zip(rows, scene.geoms, strict=False):
        for name in set(rows.dtype.names) - {"label", "padding", "mat"}:
            assert np.array_equal(row[name], getattr(geom, name)), name
        assert np.array_equal(row["mat"], geom.mat.ravel())
