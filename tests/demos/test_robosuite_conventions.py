"""Observations of robosuite, as stored by robomimic and LIBERO, compared with MuJoCo and our conversions."""

import mujoco
import numpy as np
import pytest

from vla_bench.core.conventions import turned
from vla_bench.core.geometry import quat_wxyz_to_axis_angle
from vla_bench.demos.sources import panda_hand_to_grip_site, quats_xyzw_to_axis_angle, with_mujoco_site_sign

CAMERAS = ("agentview", "robot0_eye_in_hand")


@pytest.fixture(scope="module")
def env():
    import robosuite

    made = robosuite.make(
        "Lift",
        robots="Panda",
        has_renderer=False,
        has_offscreen_renderer=True,
        use_camera_obs=True,
        camera_names=list(CAMERAS),
        camera_heights=64,
        camera_widths=64,
        hard_reset=False,  # the same model in each episode
        control_freq=20,
        seed=0,
    )
    yield made
    made.close()


def test_raw_images_are_upside_down_and_not_mirrored(env):
    observed = env.reset()
    renderer = mujoco.Renderer(env.sim.model._model, 64, 64)
    visible = mujoco.MjvOption()
    visible.geomgroup[0] = 0  # robosuite hides collision shapes
    for camera in CAMERAS:
        renderer.update_scene(env.sim.data._data, camera=camera, scene_option=visible)
        right_side_up = renderer.render().astype(float)
        raw = observed[f"{camera}_image"]
        assert np.array_equal(turned(raw, "upside_down"), right_side_up)
        for other in ("upright", "mirrored", "rotated_180"):
            assert np.abs(turned(raw, other) - right_side_up).mean() > 2
    renderer.close()


def test_the_grip_site_of_a_panda_follows_from_its_hand(env):
    env.reset()
    generator = np.random.default_rng(0)
    site = env.robots[0].eef_site_id["right"]
    for _ in range(15):
        observed, *_ = env.step(generator.uniform(-1, 1, 7))
        quat_wxyz = np.zeros(4)
        mujoco.mju_mat2Quat(quat_wxyz, env.sim.data._data.site_xmat[site])  # as our environments observe it
        hand = observed["robot0_eef_quat"][None]
        found = quats_xyzw_to_axis_angle(with_mujoco_site_sign(panda_hand_to_grip_site(hand)))[0]
        assert np.allclose(found, quat_wxyz_to_axis_angle(quat_wxyz), atol=1e-5)
