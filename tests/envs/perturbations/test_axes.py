"""Every axis changes what its name says, and nothing else in the clean episode's scene."""

from collections.abc import Iterator

import numpy as np
import pytest

from vla_bench.core.errors import UnknownNameError
from vla_bench.core.types import FloatArray
from vla_bench.envs.environment import VlaBenchEnv, make
from vla_bench.envs.perturbations import NAMED_SETS, Perturbation, PerturbationError, perturbation_axes
from vla_bench.experts import make_expert

TASK = "tabletop_object.red_cube_in_basket"
VISIBLE = {
    "camera",
    "lighting",
    "texture",
    "colour",
    "distractors",
    "sensor",
}  # in images
MOVES = {"layout", "robot", "size", "distractors"}  # axes that change the state at the start
SEED = 5


@pytest.fixture(scope="module")
def clean() -> Iterator[VlaBenchEnv]:
    environment = make(TASK, image_size=64)
    yield environment
    environment.close()


def _positions(environment: VlaBenchEnv) -> FloatArray:
    world = environment.simulation.world
    items = [item for item in world.items() if not item.startswith("distractor_")]
    return np.stack([world.position_world(item).copy() for item in items])


def test_axes_are_parsed_in_any_order() -> None:
    assert str(Perturbation.parse(" lighting=1, camera=2")) == "camera=2,lighting=1"
    assert not Perturbation.parse("")
    assert {axis for axis, _ in Perturbation.parse("visual-3").severities} == set(NAMED_SETS["visual"])


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("camra=1", UnknownNameError, "camera"),
        ("camera=4", PerturbationError, "camera=4 is out of range. Severities are 1, 2 and 3"),
        (
            "camera",
            PerturbationError,
            "'camera' has an unknown format. Expected `axis=severity`, such as `camera=2`, or a named set: visual-2",
        ),
        ("visul-2", UnknownNameError, "No set of perturbations named 'visul'. Did you mean 'visual'"),
        ("camera=1,camera=2", PerturbationError, "Axis 'camera' occurs twice"),
    ],
)
def test_invalid_perturbations_are_refused(text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(TASK, image_size=64, perturb=text)


@pytest.mark.parametrize("axis", sorted(perturbation_axes))
def test_an_axis_keeps_the_scene_and_is_reproducible(axis: str, clean: VlaBenchEnv) -> None:
    environment = make(TASK, image_size=64, perturb=f"{axis}=2")
    plain, usual = clean.reset(seed=SEED)
    before = _positions(clean)
    observation, info = environment.reset(seed=SEED)
    if axis not in MOVES:
        assert np.allclose(_positions(environment), before, atol=2e-3)
    if axis in VISIBLE:
        assert not np.array_equal(observation["images"]["agentview"], plain["images"]["agentview"])
    others = environment.reset(seed=SEED + 1)[1]["scene_hash"]
    again, repeated = environment.reset(seed=SEED)
    assert repeated["scene_hash"] == info["scene_hash"] != others
    assert np.array_equal(again["images"]["agentview"], observation["images"]["agentview"])
    assert again["instruction"] == observation["instruction"]
    if axis in MOVES | VISIBLE - {"sensor"}:
        assert info["scene_hash"] != usual["scene_hash"]
    environment.close()


def test_perturbed_environments_do_not_change_the_clean_one(clean: VlaBenchEnv) -> None:
    before = clean.reset(seed=SEED)[0]["images"]["agentview"]
    perturbed = make(TASK, image_size=64, perturb="visual-3")
    perturbed.reset(seed=SEED)
    assert np.array_equal(clean.reset(seed=SEED)[0]["images"]["agentview"], before)


def test_axes_do_not_influence_one_another() -> None:
    alone, both = (make(TASK, image_size=64, cameras=(), perturb=text) for text in ("size=3", "camera=1,size=3"))
    for environment in (alone, both):
        environment.reset(seed=SEED)
    assert np.array_equal(_positions(alone), _positions(both))


def test_instructions_are_paraphrases_and_get_typing_errors_at_severity_3() -> None:
    environment = make(TASK, image_size=64, cameras=(), perturb="instruction=1")
    instructions = {environment.reset(seed=seed)[0]["instruction"] for seed in range(12)}
    assert instructions <= set(environment.task.paraphrases)
    assert len(instructions) > 1
    with_typos = make(TASK, image_size=64, cameras=(), perturb="instruction=3").reset(seed=0)[0]["instruction"]
    assert with_typos not in environment.task.paraphrases


def test_actions_are_delayed() -> None:
    environment = make(TASK, image_size=64, cameras=(), perturb="action=3")
    environment.reset(seed=SEED)
    begin = environment.simulation.world.end_effector_position_world()[2]
    heights = []
    for _ in range(4):
        environment.advance(np.array([0, 0, 1.0, 0, 0, 0, -1.0]))
        heights.append(environment.simulation.world.end_effector_position_world()[2] - begin)
    assert heights[3] > 4 * max(abs(heights[0]), abs(heights[1]), 1e-4)


def test_the_expert_solves_scenes_with_all_physical_axes() -> None:
    successes = 0
    environment = make(TASK, image_size=64, cameras=(), perturb="physical-2")
    for seed in range(5):
        environment.reset(seed=seed)
        world, expert = environment.simulation.world, make_expert(environment.task)
        expert.reset(world, np.random.default_rng(0))
        ended = False
        while not ended:
            _, terminated, truncated, info = environment.advance(expert.act(world))
            ended = terminated or truncated
        successes += bool(info["success"])
    assert successes >= 4


@pytest.mark.parametrize(
    ("task", "axis", "message"),
    [
        ("robosuite.door", "size", "needs objects of plain shapes"),
        ("robosuite.door", "distractors", "needs a scene in which things lie about"),
    ],
)
def test_making_an_environment_refuses_an_axis_that_does_not_apply(task: str, axis: str, message: str) -> None:
    with pytest.raises(PerturbationError, match=message):
        make(task, image_size=64, cameras=(), perturb=f"{axis}=1")


def test_robosuite_environments_are_perturbed() -> None:
    plain, changed = (make("robosuite.lift", image_size=64, perturb=text) for text in (None, "camera=3,size=3"))
    first, _ = plain.reset(seed=SEED)
    second, _ = changed.reset(seed=SEED)
    assert not np.array_equal(first["images"]["agentview"], second["images"]["agentview"])
    assert np.allclose(
        plain.simulation.world.position_world("cube")[:2], changed.simulation.world.position_world("cube")[:2]
    )
