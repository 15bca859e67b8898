"""Limits on the function calls of a control step and a reset: unlike times, they do not depend on the machine."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import mujoco
import numpy as np
import pytest

import vla_bench
from vla_bench.envs import sensors
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.envs.mjcf import asset_cache_bytes
from vla_bench.envs.tabletop import scene

_TASKS = ("tabletop_object.red_cube_in_basket", "robosuite.lift")
# Calls of Python and C functions in `advance`, with a margin of a third.
_MAX_CALLS = {"tabletop_object.red_cube_in_basket": 315, "robosuite.lift": 415}
_PHYSICS_CALLS: dict[str, dict[str, int]] = {
    "tabletop_object.red_cube_in_basket": {"mj_step1": 1},
    "robosuite.lift": {},
}


@pytest.fixture(scope="module", params=_TASKS)
def environment(request: pytest.FixtureRequest) -> Iterator[VlaBenchEnv]:
    made = vla_bench.make(request.param, image_size=32)
    made.reset(seed=0)
    yield made
    made.close()


def _calls(run: Callable[[], object]) -> Counter[str]:
    """Return how often each function is called, by its name."""
    found: Counter[str] = Counter()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            found[frame.f_code.co_name] += 1
        elif event == "c_call":
            found[argument.__name__] += 1

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return found


def test_a_control_step_makes_few_calls(environment: VlaBenchEnv) -> None:
    environment.reset(seed=1)
    action = np.full(environment.action_dim, 0.1)
    environment.advance(action)
    calls = _calls(lambda: environment.advance(action))
    assert calls.total() <= _MAX_CALLS[environment.task.id]
    physics = {name: number for name, number in calls.items() if name.startswith("mj_step") or name == "mj_forward"}
    assert physics == _PHYSICS_CALLS[environment.task.id]  # all others are called from compiled code
    assert calls["mj_fullM"] == calls["mj_jacSite"] == 0


def test_the_number_of_calls_does_not_depend_on_the_substeps(environment: VlaBenchEnv) -> None:
    environment.reset(seed=1)
    simulation: Any = environment.simulation
    owner = simulation if hasattr(simulation, "_substeps") else simulation._control
    action, before = np.full(environment.action_dim, 0.1), owner._substeps
    environment.advance(action)
    counts = []
    for substeps in (1, before):
        environment.reset(seed=1)
        owner._substeps = substeps
        counts.append(_calls(lambda: environment.simulation.step(action))["mj_step1"])
    assert owner._substeps == before > 1
    assert counts == 2 * [_PHYSICS_CALLS[environment.task.id].get("mj_step1", 0)]


def test_resets_compile_nothing(environment: VlaBenchEnv) -> None:
    models = environment.simulation.models()
    compiled = scene._scene_cache.made
    made = _calls(lambda: [environment.reset(seed=seed) for seed in range(3)])
    assert all(one is other for one, other in zip(models, environment.simulation.models(), strict=True))
    assert scene._scene_cache.made == compiled
    assert not {"compile", "from_string", "from_xml_string", "from_file", "MjData"} & set(made)


def test_a_reset_renders_each_camera_once(environment: VlaBenchEnv) -> None:
    cameras = len(environment.options.cameras)
    assert _calls(lambda: environment.reset(seed=5))["mjr_render"] == cameras > 0
    assert _calls(lambda: environment.advance(np.zeros(environment.action_dim)))["mjr_render"] == 0


def test_the_geometry_of_a_fixed_camera_is_computed_once(
    environment: VlaBenchEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = sensors.camera_geometry

    def noted(model: mujoco.MjModel, data: mujoco.MjData, name: str) -> Any:
        asked.append(name)
        return real(model, data, name)

    environment.reset(seed=2)
    monkeypatch.setattr(sensors, "camera_geometry", noted)
    for _ in range(5):
        environment.advance(np.full(environment.action_dim, 0.3))
    assert "agentview" not in asked
    assert len(asked) == 5  # the wrist camera, which moves


def test_the_geometry_of_a_moved_camera_is_computed_again(environment: VlaBenchEnv) -> None:
    environment.reset(seed=2)
    simulation: Any = environment.simulation
    camera = simulation._model.camera("agentview").id
    before = environment.camera_poses_world()["agentview"]
    simulation._model.cam_pos[camera, 2] += 0.1
    environment.set_state(environment.state())
    mujoco.mj_camlight(simulation._model, simulation.data)
    after = environment.camera_poses_world()["agentview"]
    simulation._model.cam_pos[camera, 2] -= 0.1
    assert after[2, 3] - before[2, 3] == pytest.approx(0.1)


def test_building_robosuite_leaves_no_assets_behind() -> None:
    environment = vla_bench.make("robosuite.stack", image_size=32)
    environment.reset(seed=0)  # compiles the model that is rendered
    environment.close()
    assert asset_cache_bytes() == 0
