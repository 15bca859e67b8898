"""The physics hash depends on everything that the physics reads, and on nothing else."""

from collections.abc import Iterator

import numpy as np
import pytest

from vla_bench.envs.environment import VlaBenchEnv, make
from vla_bench.envs.perturbations import perturbation_axes
from vla_bench.envs.perturbations.simulation import physics_hash
from vla_bench.experts import make_expert

TASKS = ("tabletop_object.red_cube_in_basket", "robosuite.lift")
VISUAL_ONLY = ("camera", "colour", "instruction", "lighting", "sensor", "texture")
ALL_VISUAL = ",".join(f"{axis}=3" for axis in VISUAL_ONLY)
PHYSICAL = sorted(set(perturbation_axes) - set(VISUAL_ONLY))
SEED = 3


@pytest.fixture(scope="module", params=TASKS)
def clean(request: pytest.FixtureRequest) -> Iterator[VlaBenchEnv]:
    environment = make(request.param, cameras=())
    yield environment
    environment.close()


@pytest.mark.parametrize("perturb", [ALL_VISUAL, *(f"{axis}=3" for axis in PHYSICAL)])
def test_axes_without_physical_effect_have_the_clean_hash(perturb: str, clean: VlaBenchEnv) -> None:
    clean.reset(seed=SEED)
    usual = physics_hash(clean.simulation)
    perturbed = make(clean.task.id, cameras=(), perturb=perturb)
    perturbed.reset(seed=SEED)
    assert (physics_hash(perturbed.simulation) == usual) == (perturb == ALL_VISUAL)
    perturbed.close()


def test_the_hash_depends_on_the_state_and_every_physical_field(clean: VlaBenchEnv) -> None:
    clean.reset(seed=SEED)
    usual = physics_hash(clean.simulation)
    clean.advance(np.zeros(7))
    assert physics_hash(clean.simulation) != usual
    clean.reset(seed=SEED)
    assert physics_hash(clean.simulation) == usual
    other = make(clean.task.id, cameras=(), perturb="instruction=1")  # its model is not shared, so it may be changed
    other.reset(seed=SEED)
    model = other.simulation.models()[0]
    for name, same in (("mat_rgba", True), ("geom_solref", False), ("actuator_gainprm", False)):
        getattr(model, name).flat[0] += 0.125
        assert (physics_hash(other.simulation) == usual) == same
    other.close()


def test_the_expert_acts_in_the_same_way_under_equal_hashes() -> None:
    states = []
    for perturb in (None, "camera=3,colour=3,lighting=3,texture=3"):
        environment = make(TASKS[0], cameras=(), perturb=perturb)
        environment.reset(seed=SEED)
        expert, world = make_expert(environment.task), environment.simulation.world
        expert.reset(world, np.random.default_rng(0))
        for _ in range(40):
            environment.advance(expert.act(world))
        states.append(environment.state())
        environment.close()
    assert np.array_equal(*states)
