"""The model that robosuite simulates without pictures: the same physics, a tenth of the memory."""

from collections.abc import Iterator
from typing import Any

import mujoco
import numpy as np
import pytest

from vla_bench.envs.robosuite.factory import make_robosuite_env
from vla_bench.envs.robosuite.scene_models import strip_visuals

DRAWN = ("mesh_", "tex_", "bvh_", "geom_aabb", "geom_rbound", "geom_pos", "geom_quat", "geom_size", "geom_sameframe")
OF_SLEEP = ("dof_length",)  # what MuJoCo reads only where bodies may sleep; none does here


@pytest.fixture(scope="module")
def models() -> Iterator[tuple[Any, Any]]:
    env = make_robosuite_env("panda", env_name="PickPlaceCan")
    stock = env.sim.model._model
    strip_visuals(env)
    yield stock, env.sim.model._model
    env.close()


def test_every_number_of_physics_is_that_of_stock(models: tuple[mujoco.MjModel, mujoco.MjModel]) -> None:
    stock, light = models
    names = [name for name in dir(stock) if isinstance(getattr(stock, name), np.ndarray) and not name.startswith("_")]
    compared = [name for name in names if not name.startswith((*DRAWN, *OF_SLEEP))]
    assert len(compared) > 200
    # What robosuite itself sets anew at each reset differs from draw to draw.
    drawn_anew = {"site_rgba", "geom_rgba", "body_pos", "body_quat"}
    others = [name for name in compared if not np.array_equal(getattr(stock, name), getattr(light, name))]
    assert set(others) <= drawn_anew


def test_what_touches_keeps_its_shape(models: tuple[mujoco.MjModel, mujoco.MjModel]) -> None:
    stock, light = models
    touching = np.flatnonzero(stock.geom_contype | stock.geom_conaffinity)
    for name in ("geom_aabb", "geom_rbound", "geom_pos", "geom_quat", "geom_size"):
        np.testing.assert_array_equal(getattr(stock, name)[touching], getattr(light, name)[touching])


def test_it_takes_a_tenth_of_the_memory(models: tuple[mujoco.MjModel, mujoco.MjModel]) -> None:
    stock, light = models
    assert mujoco.mj_sizeModel(light) < 0.12 * mujoco.mj_sizeModel(stock)


def test_the_whole_scene_is_handed_over_for_drawing() -> None:
    env = make_robosuite_env("panda", env_name="Lift")
    whole = env.sim.model.get_xml()
    assert strip_visuals(env) == whole
    assert "tex-ceramic" in whole
    env.close()
