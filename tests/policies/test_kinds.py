from dataclasses import replace

import numpy as np
import pytest

from vla_bench.core.errors import ConventionError
from vla_bench.core.types import Observation, ProprioceptionField
from vla_bench.policies import EnvironmentConventions, PolicyRequirements, load_policy
from vla_bench.policies.policy import PolicyOutputError, as_chunks, check_requirements

OBSERVATION: Observation = {"images": {}, "proprioception": np.zeros(0, np.float32), "instruction": "reach"}
FIELDS = (ProprioceptionField("end_effector_position", 3, "m"), ProprioceptionField("gripper_position", 2, "m"))
CONVENTIONS = EnvironmentConventions(("agentview", "wrist"), 96, FIELDS)


def test_random_actions_depend_on_the_episode_s_seed_and_step_only() -> None:
    alone, together = load_policy("random"), load_policy("random")
    alone.reset(["reach"], rows=[0], seeds=[7])
    together.reset(["reach"] * 2, rows=[4, 5], seeds=[3, 7])
    for _ in range(3):
        expected = alone.act([OBSERVATION], rows=[0])[0]
        assert np.array_equal(together.act([OBSERVATION] * 2, rows=[4, 5])[1], expected)
    alone.reset(["reach"], rows=[0], seeds=[7])
    assert not np.array_equal(alone.act([OBSERVATION], rows=[0])[0], expected)


def test_random_actions_fill_the_whole_range() -> None:
    policy = load_policy("random")
    policy.reset(["reach"], rows=[0], seeds=[0])
    actions = np.concatenate([policy.act([OBSERVATION], rows=[0])[0] for _ in range(200)])
    assert np.abs(actions).max() <= 1.0
    assert (actions.min(axis=0) < -0.9).all()
    assert (actions.max(axis=0) > 0.9).all()


def test_the_expert_s_offer_is_passed_on() -> None:
    offers = np.arange(14, dtype=np.float32).reshape(2, 7)
    observations: list[Observation] = [{**OBSERVATION, "expert_action": offer} for offer in offers]
    policy = load_policy("expert")
    assert policy.requirements.expert == "expert"
    assert np.array_equal(policy.act(observations, rows=[2, 0]), offers[:, None, :])


def test_the_blind_expert_s_offer_is_another() -> None:
    assert load_policy("blind-expert").requirements.expert == "blind-expert"
    with pytest.raises(ConventionError, match="needs the actions of 'blind-expert', but they have those of 'expert'"):
        load_policy("blind-expert").connect(replace(CONVENTIONS, expert="expert"))


def test_noop_stands_still_with_the_gripper_open() -> None:
    assert load_policy("noop").act([OBSERVATION], rows=[0]).tolist() == [[[0, 0, 0, 0, 0, 0, -1]]]


@pytest.mark.parametrize(
    ("requirements", "message"),
    [
        (
            PolicyRequirements(cameras=("agentveiw",)),
            "camera 'agentveiw' .did you mean 'agentview'.., but they have agent",
        ),
        (PolicyRequirements(cameras=("wrist",), image_size=224), "images of 224 pixels, but they have 96"),
        (
            PolicyRequirements(proprioception=("forces",)),
            "proprioception field 'forces', but they have end_effector_pos",
        ),
        (PolicyRequirements(robot="ur5e"), "it was trained on the robot 'ur5e', but they have 'panda'"),
        (PolicyRequirements(depth=True), "depth images, but they have none"),
        (PolicyRequirements(expert="expert"), "the actions of 'expert', but they have none"),
    ],
)
def test_what_the_environments_do_not_send_is_an_error(requirements: PolicyRequirements, message: str) -> None:
    with pytest.raises(ConventionError, match=message):
        check_requirements(requirements, CONVENTIONS)


def test_requirements_that_are_met_pass() -> None:
    check_requirements(PolicyRequirements(("wrist",), 96, ("gripper_position",)), CONVENTIONS)
    check_requirements(PolicyRequirements(robot="panda"), CONVENTIONS)
    check_requirements(PolicyRequirements(image_size=224), CONVENTIONS)  # no camera, so no size


def test_single_actions_count_as_chunks_of_one() -> None:
    assert as_chunks(np.zeros((3, 7)), 3).shape == (3, 1, 7)
    assert as_chunks([[[0.0] * 7] * 4], 1).shape == (1, 4, 7)


@pytest.mark.parametrize("shape", [(2, 7), (3, 6), (3, 0, 7), (7,), (1, 3, 4, 7)])
def test_actions_of_a_wrong_shape_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(PolicyOutputError, match=r"of shape .* for 3 observations\. Expected \(3, H, 7\)"):
        as_chunks(np.zeros(shape), 3)


def test_something_that_is_no_array_is_an_error() -> None:
    with pytest.raises(PolicyOutputError, match=r"returned str of data type .*\. Expected real numbers"):
        as_chunks("close the gripper", 1)


@pytest.mark.parametrize("actions", [np.full((1, 7), 0.1j), [["0.1"] * 7], [[None] * 7], np.zeros((1, 7), "m8[s]")])
def test_actions_that_a_cast_would_change_are_an_error(actions: object) -> None:
    with pytest.raises(PolicyOutputError, match=r"of data type (complex|<U3|object|timedelta).*\. Expected real"):
        as_chunks(actions, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["b1", "u1", "i8", "f2", "f8", "g"])
def test_actions_of_any_real_type_are_taken(kind: str) -> None:
    assert as_chunks(np.ones((1, 7), kind), 1).tolist() == [[[1.0] * 7]]


def test_actions_are_a_copy_of_what_the_policy_returned() -> None:
    reused = np.zeros((1, 2, 7), np.float32)
    chunks = as_chunks(reused, 1)
    reused[:] = 1
    assert (chunks == 0).all(), "a policy may refill the same array while its last actions still count"


@pytest.mark.parametrize("name", ["noop", "random"])
def test_controls_act_with_two_arms(name: str) -> None:
    policy = load_policy(name)
    policy.connect(replace(CONVENTIONS, action_dim=14))
    policy.reset(["lift"], rows=[0], seeds=[0])
    actions = as_chunks(policy.act([OBSERVATION], rows=[0]), 1, action_dim=14)
    assert actions.shape == (1, 1, 14)
    if name == "noop":
        assert (actions[0, 0, [6, 13]] == -1.0).all()


def test_a_policy_for_one_arm_is_refused_before_the_first_step() -> None:
    needs = PolicyRequirements(action_dim=7)
    check_requirements(needs, CONVENTIONS)
    with pytest.raises(ConventionError, match=r"its actions have 7 numbers, but they take 14, 7 for each of 2 arms\."):
        check_requirements(needs, replace(CONVENTIONS, action_dim=14))
