"""Injected noise and slips, and the labels of disturbed and recovery steps."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import vla_bench
from vla_bench.core.episode import EpisodeIdentity
from vla_bench.demos import Demonstration, NoiseOptions, SlipOptions, record_episode
from vla_bench.demos.devices import DeviceSpec
from vla_bench.demos.disturbances import NoiseOptionsError, SlipOptionsError, make_disturbance, make_noise
from vla_bench.envs.environment import VlaBenchEnv


def samples(options: NoiseOptions | None, seed: int = 0, steps: int = 4000) -> np.ndarray:
    noise = make_noise(options, np.random.default_rng(seed))
    return np.stack([noise.sample() for _ in range(steps)])


@pytest.mark.parametrize("kind", ["bursts", "drift"])
def test_only_translation_and_yaw_are_disturbed(kind: str) -> None:
    drawn = samples(NoiseOptions(kind=kind))  # type: ignore[arg-type]
    assert (drawn[:, [0, 1, 2, 5]] != 0).any(axis=0).all()
    assert (drawn[:, [3, 4, 6]] == 0).all()


def test_drift_has_the_requested_strength_and_changes_slowly() -> None:
    x = samples(NoiseOptions(kind="drift", translation=0.3), steps=40_000)[:, 0]
    assert x.std() == pytest.approx(0.3, rel=0.1)
    assert np.corrcoef(x[:-1], x[1:])[0, 1] == pytest.approx(0.85, abs=0.03)


def test_bursts_push_in_one_direction_with_pauses() -> None:
    drawn = samples(NoiseOptions(burst_probability=0.1, burst_steps=(4, 4)))
    changes = np.flatnonzero((drawn[1:] != drawn[:-1]).any(axis=1)) + 1
    runs = [len(run) for run in np.split(drawn, changes)[1:-1] if run[0].any()]
    assert runs
    assert set(runs) == {4}
    quiet = (drawn == 0).all(axis=1).mean()
    assert quiet == pytest.approx(10 / 14, abs=0.06)  # ten quiet steps for each burst of four


def test_same_seed_same_noise() -> None:
    np.testing.assert_array_equal(samples(NoiseOptions(), 3), samples(NoiseOptions(), 3))
    assert (samples(NoiseOptions(), 3) != samples(NoiseOptions(), 4)).any()


def test_without_noise_nothing_is_added() -> None:
    assert not samples(None, steps=10).any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "wind"}, "There is no noise named 'wind'. Known: bursts, drift"),
        ({"translation": -1.0}, "expected|Expected numbers from 0 to 1"),
        ({"burst_steps": (5, 2)}, "expected .shortest, longest."),
    ],
)
def test_invalid_noise_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(NoiseOptionsError, match=message):
        NoiseOptions(**wrong)  # type: ignore[arg-type]


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


def steps_labeled(one: Demonstration, label: str) -> np.ndarray:
    return np.array([step for step, named in enumerate(one.labels) if named == label])


def test_the_gripper_opens_against_the_experts_command(dropped: Demonstration) -> None:
    slip = steps_labeled(dropped, "slip")
    assert 4 <= len(slip) <= 8
    assert slip.tolist() == list(range(slip[0], slip[-1] + 1))
    assert (dropped.executed_actions[slip, -1] == -1).all()
    assert (dropped.actions[slip[0] - 3 : slip[0] + 1, -1] == 1).all()


def test_a_dropped_object_is_grasped_again(dropped: Demonstration) -> None:
    slip, recovery = steps_labeled(dropped, "slip"), steps_labeled(dropped, "recovery")
    assert dropped.success
    assert recovery.tolist() == list(range(slip[-1] + 1, recovery[-1] + 1))
    assert {"reach", "grasp"} & {dropped.phases[step] for step in recovery}
    assert dropped.labels[-1] == "nominal"
    np.testing.assert_array_equal(dropped.executed_actions[recovery], dropped.actions[recovery])


def test_an_episode_counts_its_slips(dropped: Demonstration) -> None:
    summary = dropped.summary()
    assert (summary.slips, summary.slip_steps) == (1, dropped.labels.count("slip"))
    assert summary.recovery_steps == dropped.labels.count("recovery") > 0


def test_a_push_moves_the_arm_and_not_the_gripper(env: VlaBenchEnv) -> None:
    pushed = recorded(env, SlipOptions(kind="push"))
    slip = steps_labeled(pushed, "slip")
    assert pushed.success
    np.testing.assert_array_equal(pushed.executed_actions[slip, 3:], pushed.actions[slip, 3:])
    assert np.abs(pushed.executed_actions[slip, :3] - pushed.actions[slip, :3]).max() > 0.05
    assert len(steps_labeled(pushed, "recovery")) > 0


def test_slips_are_determined_by_the_episode(env: VlaBenchEnv, dropped: Demonstration) -> None:
    again, other = recorded(env, SlipOptions()), recorded(env, SlipOptions(), index=1)
    assert again.labels == dropped.labels
    np.testing.assert_array_equal(again.states, dropped.states)
    first = [steps_labeled(one, "slip") for one in (dropped, other)]
    assert (len(first[0]), first[0][0]) != (len(first[1]), first[1][0])


def test_several_slips_and_noise_combine(env: VlaBenchEnv) -> None:
    made = recorded(env, SlipOptions(kind="both", most=2, per_step=0.3), NoiseOptions())
    assert made.summary().slips == 2
    undisturbed = np.array([label != "slip" for label in made.labels])
    assert (made.executed_actions[undisturbed] != made.actions[undisturbed]).any(), "the noise is missing"
    assert np.abs(made.executed_actions).max() <= 1.0


def test_nothing_slips_unless_something_is_held(env: VlaBenchEnv) -> None:
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
def test_invalid_slips_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(SlipOptionsError, match=message):
        SlipOptions(**options)  # type: ignore[arg-type]
