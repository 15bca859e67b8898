"""Memory of a process that works through many tasks, measured by its cached models."""

import gc
import weakref
from typing import Any

import mujoco
import numpy as np

import vla_bench
from vla_bench.envs import mjcf
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.envs.rendering import renderer
from vla_bench.envs.robosuite import scene_models
from vla_bench.envs.tabletop import scene
from vla_bench.evaluation.environment_slots import EnvironmentCache, EnvironmentSpec

_OF_EACH_SCENE = ("goal.press_button", "long.stack_three", "object.red_cube_on_plate", "spatial.on_box")
_TASKS = (*(f"tabletop_{name}" for name in _OF_EACH_SCENE), "robosuite.lift", "robosuite.door")
_CACHE_BYTES = 32_000_000  # limit of each of the three caches


def test_models_and_renderers_of_finished_tasks_stay_within_the_cache_limits() -> None:
    seen: list[Any] = []
    for task_id in _TASKS:
        environment = _rendered(task_id)
        seen += [weakref.ref(model) for model in environment.simulation.models()]
        environment.close()
        del environment
        gc.collect()
        alive = {id(model): model.nbuffer for model in (reference() for reference in seen) if model is not None}
        assert sum(alive.values()) <= 3 * _CACHE_BYTES
        for each in (renderer._renderers, scene._scene_cache, scene_models._render_model_cache):
            filled = [_model(value).nbuffer for value in each.alive()]
            assert len(filled) <= 1 or sum(filled) <= _CACHE_BYTES
    assert len(seen) == len(_OF_EACH_SCENE) + 2 * 2  # robosuite simulates one model and renders another
    assert len(alive) <= len(_OF_EACH_SCENE) + 1, "of robosuite, only the last rendered model is kept"
    assert mjcf.asset_cache_bytes() == 0


def test_tasks_share_their_scene_and_renderer() -> None:
    first = _rendered("tabletop_object.red_cube_on_plate")
    before = scene._scene_cache.made, renderer._renderers.made
    for name in ("red_cube_in_basket", "milk_box_on_plate"):
        _rendered(f"tabletop_object.{name}").close()
    first.close()
    del first
    _rendered("tabletop_object.blue_can_on_plate").close()
    assert (scene._scene_cache.made, renderer._renderers.made) == before


def test_renderers_in_use_are_never_dropped() -> None:
    many = [_rendered("tabletop_object.red_cube_on_plate", perturb="lighting=1") for _ in range(10)]
    before = renderer._renderers.made
    for environment in many * 2:
        environment.observe()
    assert renderer._renderers.made == before


def test_a_worker_keeps_few_environments_with_large_models() -> None:
    cache = EnvironmentCache(EnvironmentSpec(image_size=32), max_free=8, max_bytes=10_000_000)
    taken = [cache.take(task_id) for task_id in _TASKS[:3]]  # 5 MB each
    closed: list[VlaBenchEnv] = []
    for environment in taken:
        environment.reset(seed=0)
        environment.close = lambda environment=environment: closed.append(environment)  # type: ignore[misc]
    for task_id, environment in zip(_TASKS, taken, strict=False):
        cache.give_back(task_id, environment)
    assert closed == taken[:1]
    assert cache.take(_TASKS[2]) is taken[2]


def _rendered(task_id: str, **options: Any) -> VlaBenchEnv:
    environment = vla_bench.make(task_id, image_size=32, **options)
    observation, _ = environment.reset(seed=0)
    assert np.ptp(observation["images"]["agentview"]) > 0
    return environment


def _model(value: Any) -> mujoco.MjModel:
    if isinstance(value, renderer.Renderer):
        return value._model
    return value.model if isinstance(value, scene.CompiledScene) else value
