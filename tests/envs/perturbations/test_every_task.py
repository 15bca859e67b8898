"""Every task begins and moves under every axis, but for the few that it lacks and says so."""

from itertools import product

import numpy as np
import pytest

from vla_bench.envs.environment import make
from vla_bench.envs.perturbations import perturbation_axes
from vla_bench.evaluation.plan import unsupported_reason
from vla_bench.tasks import task_ids

_MESHES = ("pick_place_bread", "pick_place_can", "pick_place_cereal", "pick_place_milk")
LACKING = {
    ("robosuite.door", "distractors"): "needs a scene in which things lie about",
    ("robosuite.door", "size"): "needs objects of plain shapes that are free to move",
    ("robosuite.wipe", "size"): "needs objects of plain shapes that are free to move",
    **{(f"robosuite.{name}", "size"): "needs objects of plain shapes" for name in _MESHES},
}


def _begins_and_moves(task: str, perturbation: str) -> None:
    environment = make(task, cameras=(), perturb=perturbation)
    _, info = environment.reset(seed=4)
    assert info["scene_hash"]
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, (3, environment.action_dim))
    for action in actions:
        environment.advance(action)
    state = environment.state()
    assert np.isfinite(state).all()
    environment.reset(seed=9)  # another episode in between leaves nothing behind
    environment.advance(actions[0])
    assert environment.reset(seed=4)[1]["scene_hash"] == info["scene_hash"]
    for action in actions:
        environment.advance(action)
    assert np.array_equal(environment.state(), state)
    environment.close()


@pytest.mark.parametrize("task", task_ids())
def test_a_task_has_every_axis_but_those_that_it_says_it_lacks(task: str) -> None:
    for axis in perturbation_axes:
        reason, expected = unsupported_reason(task, f"{axis}=2", "panda"), LACKING.get((task, axis), "")
        assert (expected in reason) if expected else not reason


@pytest.mark.parametrize("task", task_ids())
def test_a_task_begins_and_moves_under_all_its_axes_at_once(task: str) -> None:
    has = [axis for axis in perturbation_axes if (task, axis) not in LACKING]
    _begins_and_moves(task, ",".join(f"{axis}=2" for axis in has))


@pytest.mark.slow
@pytest.mark.parametrize(("task", "axis", "severity"), list(product(task_ids(), perturbation_axes, (1, 2, 3))))
def test_a_task_begins_and_moves_under_each_axis_alone(task: str, axis: str, severity: int) -> None:
    if (task, axis) in LACKING:
        pytest.skip(f"{task} lacks {axis}")
    _begins_and_moves(task, f"{axis}={severity}")
