"""Recording with real environments and experts, and the robot that recordings state."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import vla_bench
from tests.demos.synthetic import header
from vla_bench.core.episode import EpisodeIdentity
from vla_bench.demos import (
    CollectOptions,
    Demonstration,
    DemonstrationFile,
    NoiseOptions,
    SlipOptions,
    collect,
    record_episode,
    write_demonstrations,
)
from vla_bench.demos.devices import DeviceSpec
from vla_bench.demos.disturbances import make_disturbance
from vla_bench.demos.header import FileHeader
from vla_bench.demos.recording import DeviceRecorder, header_of
from vla_bench.demos.sources import SourceOptions, open_sources
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.experts import make_expert
from vla_bench.training.dataset import robot_of

SUITE, TASK = "tabletop_object", "red_cube_in_basket"
IDENTITY = EpisodeIdentity(SUITE, TASK, 0, variant="demonstration")


def recorded(
    env: VlaBenchEnv,
    identity: EpisodeIdentity,
    noise: NoiseOptions | None = None,
    slips: SlipOptions | None = None,
) -> Demonstration:
    """Record the expert."""
    made = record_episode(env, DeviceSpec().make(), identity, make_disturbance(identity, noise, slips))
    assert made is not None
    return made


@pytest.fixture(scope="module")
def env() -> Iterator[VlaBenchEnv]:
    env = vla_bench.make(f"{SUITE}.{TASK}", image_size=48)
    yield env
    env.close()


@pytest.fixture(scope="module")
def clean(env: VlaBenchEnv) -> Demonstration:
    return recorded(env, IDENTITY)


@pytest.fixture(scope="module")
def noisy(env: VlaBenchEnv) -> Demonstration:
    return recorded(env, IDENTITY, NoiseOptions())


def test_episode_ends_with_its_success(env: VlaBenchEnv, clean: Demonstration) -> None:
    assert clean.success
    assert 20 < clean.steps < env.task.horizon
    assert clean.dones.tolist() == [False] * (clean.steps - 1) + [True]
    assert clean.rewards.sum() == clean.rewards[-1] == 1.0


def test_every_array_has_one_row_for_each_step(env: VlaBenchEnv, clean: Demonstration) -> None:
    steps = clean.steps
    assert {name: images.shape for name, images in clean.images.items()} == {
        "agentview": (steps, 48, 48, 3),
        "wrist": (steps, 48, 48, 3),
    }
    assert clean.proprioception.shape == (steps, sum(field.size for field in env.proprioception_fields))
    assert clean.actions.shape == clean.executed_actions.shape == (steps, 7)
    assert len(clean.states) == len(clean.phases) == steps


def test_stored_observations_are_from_before_the_action(env: VlaBenchEnv, clean: Demonstration) -> None:
    observation, info = env.reset(seed=IDENTITY.scene_seed())
    assert info["scene_hash"] == clean.scene_hash
    for step in range(clean.steps):
        np.testing.assert_array_equal(observation["images"]["wrist"], clean.images["wrist"][step])
        np.testing.assert_array_equal(observation["proprioception"], clean.proprioception[step])
        np.testing.assert_array_equal(env.state(), clean.states[step])
        observation, _, terminated, _, info = env.step(clean.executed_actions[step])
    assert terminated
    assert info["success"]


def test_a_stored_state_renders_the_stored_image(env: VlaBenchEnv, clean: Demonstration) -> None:
    for step in (0, clean.steps // 2, clean.steps - 1):
        env.set_state(clean.states[step])
        np.testing.assert_array_equal(env.observe()["images"]["agentview"], clean.images["agentview"][step])


def test_without_noise_the_expert_moves_the_robot(clean: Demonstration) -> None:
    np.testing.assert_array_equal(clean.executed_actions, clean.actions)


def test_noise_moves_the_robot_and_the_clean_action_is_recorded(env: VlaBenchEnv, noisy: Demonstration) -> None:
    disturbed = (noisy.executed_actions != noisy.actions).any(axis=1)
    assert 0.05 < disturbed.mean() < 0.7
    assert np.abs(noisy.executed_actions).max() <= 1.0
    env.reset(seed=IDENTITY.scene_seed())
    world, expert = env.simulation.world, make_expert(env.task)
    expert.reset(world, IDENTITY.generator("expert"))
    for step in range(noisy.steps):  # the recorded label is the expert's action at each state of the disturbed path
        np.testing.assert_array_equal(expert.act(world), noisy.actions[step])
        env.advance(noisy.executed_actions[step])


def test_noise_is_determined_by_the_episode(env: VlaBenchEnv, noisy: Demonstration) -> None:
    again = recorded(env, IDENTITY, NoiseOptions())
    np.testing.assert_array_equal(again.executed_actions, noisy.executed_actions)


def test_expert_succeeds_with_the_default_noise(env: VlaBenchEnv) -> None:
    identities = [replace(IDENTITY, index=index) for index in range(1, 7)]
    made = [recorded(env, identity, NoiseOptions()).success for identity in identities]
    assert sum(made) >= 5


def test_an_episode_does_not_depend_on_earlier_ones(tmp_path: Path, clean: Demonstration) -> None:
    recorder = DeviceRecorder(CollectOptions((SUITE,), tmp_path / "demos.hdf5", image_size=48))
    recorder(replace(IDENTITY, task="orange_mug_on_plate", index=3))
    later = recorder(IDENTITY)
    np.testing.assert_array_equal(later.states, clean.states)
    np.testing.assert_array_equal(later.images["agentview"], clean.images["agentview"])


def test_real_demonstrations_survive_the_file(env: VlaBenchEnv, clean: Demonstration, tmp_path: Path) -> None:
    write_demonstrations(tmp_path / "demos.hdf5", header_of(env), [clean])
    with DemonstrationFile(tmp_path / "demos.hdf5") as file:
        assert file.header == header_of(env)
        read = file.read("demo_0")
    np.testing.assert_array_equal(read.states, clean.states)
    np.testing.assert_array_equal(read.images["wrist"], clean.images["wrist"])
    assert (read.model_xml, read.phases) == (clean.model_xml, clean.phases)
    assert read.model_xml.startswith("<mujoco")


@pytest.mark.slow
def test_collecting_in_processes_equals_recording_in_this_process(tmp_path: Path) -> None:
    tasks = (TASK, "blue_can_on_plate")
    options = CollectOptions((SUITE,), tmp_path / "demos.hdf5", tasks, episodes=1, workers=2, image_size=48, depth=True)
    report = collect(options)
    assert [task.successes for task in report.tasks] == [1, 1]
    with DemonstrationFile(options.output) as file:
        assert [file.summary(name).identity.task for name in file.names] == list(tasks)
        read = file.read("demo_1")
        assert file.header.depth
    here = DeviceRecorder(options)(read.identity)
    np.testing.assert_array_equal(read.actions, here.actions)
    np.testing.assert_array_equal(read.images["agentview"], here.images["agentview"])
    np.testing.assert_array_equal(read.depth["wrist"], here.depth["wrist"])
    assert read.depth["agentview"].shape == (read.steps, 48, 48)


_TASK = "pick_red_cube"


@pytest.fixture(scope="module")
def file_of_robot(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a recorded demonstration of each robot."""
    folder = tmp_path_factory.mktemp("robots")
    paths = {robot: folder / f"{robot}.hdf5" for robot in ("panda", "ur5e")}
    for robot, path in paths.items():
        collect(CollectOptions(("tabletop_pick",), path, (_TASK,), episodes=1, image_size=32, robot=robot))
    return paths


def test_a_file_states_its_robot_and_proprioception(file_of_robot: dict[str, Path]) -> None:
    for robot, path in file_of_robot.items():
        made = vla_bench.make(f"tabletop_pick.{_TASK}", cameras=(), robot=robot)
        with DemonstrationFile(path) as file:
            assert file.header.robot == robot
            assert file.header.proprioception_fields == made.proprioception_fields
            demonstration = file.read(file.names[0], ())
        assert demonstration.proprioception.shape == (demonstration.steps, {"panda": 25, "ur5e": 27}[robot])
        assert demonstration.success


def test_training_knows_the_robot_of_its_demonstrations(file_of_robot: dict[str, Path]) -> None:
    def robot(*names: str) -> str | None:
        with open_sources([file_of_robot[name] for name in names], SourceOptions()) as sources:
            return robot_of(sources)

    assert robot("ur5e") == "ur5e"
    assert robot("panda", "panda") == "panda"
    assert robot("panda", "ur5e") is None


def test_older_files_are_of_the_panda() -> None:
    attributes = header().to_attributes()
    assert "robot" not in str(attributes["env_args"])
    assert FileHeader.from_attributes(Path("demos.hdf5"), attributes).robot == "panda"
