"""Injected slips: while something is held it is lost, and the recovery is told from the rest."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import vla_bench
from vla_bench.core.episode import EpisodeIdentity
from vla_bench.demos import Demonstration, NoiseOptions, SlipOptions, record_episode
from vla_bench.demos.devices import DeviceSpec
from vla_bench.demos.disturbances import SlipOptionsError, make_disturbance
from vla_bench.envs.environment import VlaBenchEnv

IDENTITY = EpisodeIdentity("tabletop_object", "red_cube_in_basket", 0, variant="demonstration")


@pytest.fixture(scope="module")
def env() -> Iterator[VlaBenchEnv]:
    env = vla_bench.make(IDENTITY.task_id, image_size=16, cameras=())
    yield env
    env.close()


def recorded(env: VlaBenchEnv, slips: SlipOptions, noise: NoiseOptions | None = None, index: int = 0) -> Demonstration:
    identity = replace(IDENTITY, index=index)
    made = record_episode(env, DeviceSpec().make(), identity, make_disturbance(identity, noise, slips))
    assert made is not None
    return made


@pytest.fixture(scope="module")
def dropped(env: VlaBenchEnv) -> Demonstration:
    return recorded(env, SlipOptions())


def steps_labelled(one: Demonstration, label: str) -> np.ndarray:
    return np.array([step for step, named in enumerate(one.labels) if named == label])


def test_the_gripper_opens_while_the_expert_wants_it_closed(dropped: Demonstration) -> None:
    slip = steps_labelled(dropped, "slip")
    assert 4 <= len(slip) <= 8
    assert slip.tolist() == list(range(slip[0], slip[-1] + 1))
    assert (dropped.executed_actions[slip, -1] == -1).all()
    assert (dropped.actions[slip[0] - 3 : slip[0] + 1, -1] == 1).all()


def test_what_is_lost_is_taken_again_and_then_all_is_nominal(dropped: Demonstration) -> None:
    slip, recovery = steps_labelled(dropped, "slip"), steps_labelled(dropped, "recovery")
    assert dropped.success
    assert recovery.tolist() == list(range(slip[-1] + 1, recovery[-1] + 1))
    assert {"reach", "grasp"} & {dropped.phases[step] for step in recovery}
    assert dropped.labels[-1] == "nominal"
    np.testing.assert_array_equal(dropped.executed_actions[recovery], dropped.actions[recovery])


def test_an_episode_counts_its_slips(dropped: Demonstration) -> None:
    summary = dropped.summary()
    assert (summary.slips, summary.slip_steps) == (1, dropped.labels.count("slip"))
    assert summary.recovery_steps == dropped.labels.count("recovery") > 0


def test_a_push_moves_the_hand_and_leaves_the_gripper(env: VlaBenchEnv) -> None:
    pushed = recorded(env, SlipOptions(kind="push"))
    slip = steps_labelled(pushed, "slip")
    assert pushed.success
    np.testing.assert_array_equal(pushed.executed_actions[slip, 3:], pushed.actions[slip, 3:])
    assert np.abs(pushed.executed_actions[slip, :3] - pushed.actions[slip, :3]).max() > 0.05
    assert len(steps_labelled(pushed, "recovery")) > 0


def test_slips_are_the_episodes_own_and_differ_between_episodes(env: VlaBenchEnv, dropped: Demonstration) -> None:
    again, other = recorded(env, SlipOptions()), recorded(env, SlipOptions(), index=1)
    assert again.labels == dropped.labels
    np.testing.assert_array_equal(again.states, dropped.states)
    first = [steps_labelled(one, "slip") for one in (dropped, other)]
    assert (len(first[0]), first[0][0]) != (len(first[1]), first[1][0])


def test_several_slips_and_noise_go_together(env: VlaBenchEnv) -> None:
    made = recorded(env, SlipOptions(kind="both", most=2, per_step=0.3), NoiseOptions())
    assert made.summary().slips == 2
    undisturbed = np.array([label != "slip" for label in made.labels])
    assert (made.executed_actions[undisturbed] != made.actions[undisturbed]).any(), "the noise is missing"
    assert np.abs(made.executed_actions).max() <= 1.0


def test_without_anything_held_nothing_slips(env: VlaBenchEnv) -> None:
    world, slips = env.simulation.world, make_disturbance(IDENTITY, slips=SlipOptions(per_step=1.0))
    env.reset(seed=0)
    closing = np.array([0, 0, 0, 0, 0, 0, 1], dtype=np.float32)
    assert {slips.disturb(closing, world)[1] for _ in range(20)} == {"nominal"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "fling"}, r"There is no slip named 'fling'\. Known: drop, push, both\."),
        ({"most": 0}, "Expected most >= 1, 0 < per_step <= 1"),
        ({"per_step": 0.0}, "Slip options are out of range"),
        ({"steps": (5, 3)}, r"The steps of a slip are \(5, 3\); expected \(shortest, longest\)"),
    ],
)
def test_impossible_slips_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(SlipOptionsError, match=message):
        SlipOptions(**options)  # type: ignore[arg-type]
