"""Equal physics is told by comparing what physics reads, whatever the axis is called."""

from collections.abc import Iterator

import numpy as np
import pytest

from vla_bench.envs.environment import VlaBenchEnv, make
from vla_bench.envs.perturbations import perturbation_axes
from vla_bench.envs.perturbations.simulation import physics_hash
from vla_bench.experts import make_expert

TASKS = ("tabletop_object.red_cube_in_basket", "robosuite.lift")
UNFELT = ("camera", "colour", "instruction", "lighting", "sensor", "texture")
FELT = sorted(set(perturbation_axes) - set(UNFELT))
SEED = 3


@pytest.fixture(scope="module", params=TASKS)
def clean(request: pytest.FixtureRequest) -> Iterator[VlaBenchEnv]:
    environment = make(request.param, cameras=())
    yield environment
    environment.close()


@pytest.mark.parametrize("perturb", [",".join(f"{axis}=3" for axis in UNFELT), *(f"{axis}=3" for axis in FELT)])
def test_what_physics_does_not_feel_has_the_clean_hash(perturb: str, clean: VlaBenchEnv) -> None:
    clean.reset(seed=SEED)
    usual = physics_hash(clean.simulation)
    perturbed = make(clean.task.id, cameras=(), perturb=perturb)
    perturbed.reset(seed=SEED)
    assert (physics_hash(perturbed.simulation) == usual) == ("," in perturb)  # all that it does not feel, at once
    perturbed.close()


def test_the_hash_follows_state_and_every_field_that_physics_reads(clean: VlaBenchEnv) -> None:
    clean.reset(seed=SEED)
    usual = physics_hash(clean.simulation)
    clean.advance(np.zeros(7))
    assert physics_hash(clean.simulation) != usual
    clean.reset(seed=SEED)
    assert physics_hash(clean.simulation) == usual
    other = make(clean.task.id, cameras=(), perturb="instruction=1")  # a model of its own, which may be changed
    other.reset(seed=SEED)
    model = other.simulation.models()[0]
    for name, same in (("mat_rgba", True), ("geom_solref", False), ("actuator_gainprm", False)):
        getattr(model, name).flat[0] += 0.125
        assert (physics_hash(other.simulation) == usual) == same
    other.close()


def test_equal_hashes_are_the_same_course_under_the_expert() -> None:
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
