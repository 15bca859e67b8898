"""The model that robosuite simulates without visuals: the same physics with a tenth of the memory."""

from collections.abc import Iterator
from typing import Any

import mujoco
import numpy as np
import pytest

from vla_bench.envs.robosuite.factory import make_robosuite_env
from vla_bench.envs.robosuite.scene_models import strip_visuals

VISUAL = ("mesh_", "tex_", "bvh_", "geom_aabb", "geom_rbound", "geom_pos", "geom_quat", "geom_size", "geom_sameframe")
SLEEP = ("dof_length",)  # MuJoCo reads it only if bodies may sleep


@pytest.fixture(scope="module")
def models() -> Iterator[tuple[Any, Any]]:
    env = make_robosuite_env("panda", env_name="PickPlaceCan")
    original = env.sim.model._model
    strip_visuals(env)
    yield original, env.sim.model._model
    env.close()


def test_all_physics_fields_equal_the_original(models: tuple[mujoco.MjModel, mujoco.MjModel]) -> None:
    original, light = models
    names = [
        name for name in dir(original) if isinstance(getattr(original, name), np.ndarray) and not name.startswith("_")
    ]
    compared = [name for name in names if not name.startswith((*VISUAL, *SLEEP))]
    assert len(compared) > 200
    # robosuite sets these at random at each reset.
    random_fields = {"site_rgba", "geom_rgba", "body_pos", "body_quat"}
    others = [name for name in compared if not np.array_equal(getattr(original, name), getattr(light, name))]
    assert set(others) <= random_fields


def test_colliding_geoms_keep_their_shape(models: tuple[mujoco.MjModel, mujoco.MjModel]) -> None:
    original, light = models
    touching = np.flatnonzero(original.geom_contype | original.geom_conaffinity)
    for name in ("geom_aabb", "geom_rbound", "geom_pos", "geom_quat", "geom_size"):
        np.testing.assert_array_equal(getattr(original, name)[touching], getattr(light, name)[touching])


def test_the_model_needs_a_tenth_of_the_memory(models: tuple[mujoco.MjModel, mujoco.MjModel]) -> None:
    original, light = models
    assert mujoco.mj_sizeModel(light) < 0.12 * mujoco.mj_sizeModel(original)


def test_the_original_model_is_returned_for_rendering() -> None:
    env = make_robosuite_env("panda", env_name="Lift")
    whole = env.sim.model.get_xml()
    assert strip_visuals(env) == whole
    assert "tex-ceramic" in whole
    env.close()
