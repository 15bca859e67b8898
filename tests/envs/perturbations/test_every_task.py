"""Every task works under every axis, except the few that do not apply to it and are reported."""

from itertools import product

import numpy as np
import pytest

from vla_bench.envs.environment import make
from vla_bench.envs.perturbations import perturbation_axes
from vla_bench.evaluation.plan import PerturbationSupport
from vla_bench.tasks import task_ids

_MESHES = ("pick_place_bread", "pick_place_can", "pick_place_cereal", "pick_place_milk")
NOT_APPLICABLE = {
    ("robosuite.door", "distractors"): "needs a scene in which things lie about",
    ("robosuite.door", "size"): "needs objects of plain shapes that are free to move",
    ("robosuite.wipe", "size"): "needs objects of plain shapes that are free to move",
    **{(f"robosuite.{name}", "size"): "needs objects of plain shapes" for name in _MESHES},
}


def _check_reproducible(task: str, perturbation: str) -> None:
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
def test_axes_that_do_not_apply_are_reported_with_a_reason(task: str) -> None:
    with PerturbationSupport("panda") as support:
        for axis in perturbation_axes:
            reason, expected = support.unsupported_reason(task, f"{axis}=2"), NOT_APPLICABLE.get((task, axis), "")
            assert (expected in reason) if expected else not reason


@pytest.mark.parametrize("task", task_ids())
def test_episodes_are_reproducible_under_all_axes_at_once(task: str) -> None:
    axes = [axis for axis in perturbation_axes if (task, axis) not in NOT_APPLICABLE]
    _check_reproducible(task, ",".join(f"{axis}=2" for axis in axes))


@pytest.mark.slow
@pytest.mark.parametrize(("task", "axis", "severity"), list(product(task_ids(), perturbation_axes, (1, 2, 3))))
def test_episodes_are_reproducible_under_each_axis_alone(task: str, axis: str, severity: int) -> None:
    if (task, axis) in NOT_APPLICABLE:
        pytest.skip(f"{axis} does not apply to {task}")
    _check_reproducible(task, f"{axis}={severity}")
