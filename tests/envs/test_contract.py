"""The environment contract, tested for every task of every suite.

It covers Gymnasium's interface, reproducibility from the seed, start states, the scripted expert and recording.
"""

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import vla_bench
from vla_bench.authoring.check import start_problems
from vla_bench.authoring.trials import try_expert
from vla_bench.core.episode import EpisodeIdentity, array_hash
from vla_bench.core.errors import ConventionError, UnknownNameError
from vla_bench.core.types import ACTION_DIM, FloatArray, Observation
from vla_bench.demos import Demonstration, DemonstrationFile, record_episode, write_demonstrations
from vla_bench.demos.devices import DeviceSpec
from vla_bench.demos.recording import header_of
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.experts import make_expert
from vla_bench.tasks import Task, suites, task_ids, tasks_of
from vla_bench.tasks.progress import PHASES

_SIZE = 32  # pixels
_FIELDS = {
    "end_effector_position": 3,
    "end_effector_axis_angle": 3,
    "gripper_position": 2,
    "joint_positions": 7,
    "joint_velocities": 7,
    "hand_axis_angle": 3,
}
_LONG = 50  # steps whose hashes are compared
_SEEN_EVERY = 5  # steps: an image costs as much as several steps
_EXPERT_SEEDS = 3
_FAILURES_OF_A_HUNDRED = {"tabletop": 3, "robosuite": 6}  # one more than 98 and 95 % have on average
_FIRST_OF_EACH_SUITE = [tasks_of(suite)[0].id for suite in suites()]


@pytest.fixture(scope="module", params=task_ids())
def environment(request: pytest.FixtureRequest) -> Iterator[VlaBenchEnv]:
    """Return each task's environment; pytest runs all tests of one task before the next."""
    made = vla_bench.make(request.param, image_size=_SIZE)
    yield made
    made.close()


@pytest.fixture(scope="module")
def recorded(environment: VlaBenchEnv) -> Demonstration:
    """Return the expert's first episode of the task."""
    made = record_episode(environment, DeviceSpec("expert").make(), _identity(environment.task, 0))
    assert made is not None
    return made


def _identity(task: Task, index: int) -> EpisodeIdentity:
    return EpisodeIdentity(task.suite, task.name, index, variant="contract")


def _actions(environment: VlaBenchEnv, count: int) -> FloatArray:
    size = environment.simulation.action_dim
    return np.random.default_rng(1).uniform(-1, 1, (count, size)).astype(np.float32)


def hashes(environment: VlaBenchEnv, seed: int) -> list[list[str]]:
    """Return hashes of each state of an episode under random actions, and of every fifth observation."""
    seen = [environment.reset(seed=seed)[0]]
    states = [array_hash(environment.state())]
    for step, action in enumerate(_actions(environment, _LONG), start=1):
        _, terminated, truncated, _ = environment.advance(action)
        states.append(array_hash(environment.state()))
        if step % _SEEN_EVERY == 0:
            seen.append(environment.observe())
        if terminated or truncated:
            break
    images = [
        array_hash(*(one["images"][name] for name in sorted(one["images"])), one["proprioception"]) for one in seen
    ]
    return [states, images]


def _episode(environment: VlaBenchEnv, seed: int, steps: int = 3) -> tuple[list[Observation], list[dict[str, object]]]:
    observation, info = environment.reset(seed=seed)
    observations, infos = [observation], [info]
    for action in _actions(environment, steps):
        observation, _, _, _, info = environment.step(action)
        observations.append(observation)
        infos.append(info)
    return observations, infos


def _assert_same(first: Observation, second: Observation) -> None:
    assert first["instruction"] == second["instruction"]
    assert np.array_equal(first["proprioception"], second["proprioception"])
    assert first["images"].keys() == second["images"].keys()
    for camera, image in first["images"].items():
        assert np.array_equal(image, second["images"][camera]), camera


def test_passes_gymnasium_check(environment: VlaBenchEnv) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*(infinity|different from the unwrapped|spec).*")
        check_env(environment, skip_render_check=True)


def test_is_registered_with_gymnasium(environment: VlaBenchEnv) -> None:
    spec = gymnasium.spec(f"vla_bench/{environment.task.id}-v1")
    assert spec.kwargs == {"task_id": environment.task.id}


def test_the_same_seed_gives_the_same_episode_after_others(environment: VlaBenchEnv) -> None:
    fresh = vla_bench.make(environment.task.id, image_size=_SIZE)
    _episode(environment, seed=99)
    ours, theirs = hashes(environment, seed=4), hashes(fresh, seed=4)
    fresh.close()
    assert ours == theirs
    states, images = ours
    assert len(states) > 20
    assert len(set(images)) == len(images) > 4  # the robot moves, so every image differs


@pytest.fixture(scope="module")
def hashes_of_another_process() -> dict[str, list[list[str]]]:
    """Return the hashes of the first task of each suite, computed in another process."""
    program = (
        "import json\n"
        "import vla_bench; from tests.envs.test_contract import hashes\n"
        f"made = [(name, vla_bench.make(name, image_size={_SIZE})) for name in {_FIRST_OF_EACH_SUITE}]\n"
        "print(json.dumps({name: hashes(environment, 4) for name, environment in made}))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[list[str]]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("task_id", _FIRST_OF_EACH_SUITE)
def test_the_same_seed_gives_the_same_episode_in_another_process(
    task_id: str, hashes_of_another_process: dict[str, list[list[str]]]
) -> None:
    ours = vla_bench.make(task_id, image_size=_SIZE)
    assert hashes(ours, 4) == hashes_of_another_process[task_id]
    ours.close()


def test_start_states_vary(environment: VlaBenchEnv) -> None:
    starts = [environment.reset(seed=seed) for seed in range(4)]
    assert len({info["scene_hash"] for _, info in starts}) == 4
    images = np.stack([observation["images"]["agentview"] for observation, _ in starts])
    assert np.ptp(images.astype(int), axis=0).max() > 20


def test_spaces_and_info_conform(environment: VlaBenchEnv) -> None:
    observations, infos = _episode(environment, seed=2)
    arms = environment.simulation.action_dim // ACTION_DIM
    assert environment.action_space == gymnasium.spaces.Box(-1.0, 1.0, (arms * ACTION_DIM,), np.float32)
    fields = [(field.name, field.size) for field in environment.proprioception_fields]
    assert [(name.removeprefix("right_").removeprefix("left_"), size) for name, size in fields] == arms * [
        *_FIELDS.items()
    ]
    assert len(dict(fields)) == len(fields)
    for observation, info in zip(observations, infos, strict=True):
        assert environment.observation_space.contains(observation)
        assert np.isfinite(observation["proprioception"]).all()
        assert info["success"] is False
        assert 0.0 <= float(str(info["progress"])) <= 1.0
        assert info["phase"] in PHASES
        assert np.allclose(np.asarray(info["end_effector_position"]), observation["proprioception"][:3], atol=1e-6)
    assert infos[0]["scene_hash"]


def test_no_two_steps_share_memory(environment: VlaBenchEnv) -> None:
    observations, infos = _episode(environment, seed=2, steps=2)
    arrays = [[*seen["images"].values(), seen["proprioception"]] for seen in observations]
    for step in (1, 2):
        for now, before in zip(arrays[step], arrays[step - 1], strict=True):
            assert not np.shares_memory(now, before)
        place, earlier = infos[step]["end_effector_position"], infos[step - 1]["end_effector_position"]
        assert not np.shares_memory(np.asarray(place), np.asarray(earlier))


def test_both_cameras_see_something_that_changes(environment: VlaBenchEnv) -> None:
    observations, _ = _episode(environment, seed=2)
    for camera in ("agentview", "wrist"):
        first, last = observations[0]["images"][camera], observations[-1]["images"][camera]
        assert first.std() > 5
        assert not np.array_equal(first, last)


def test_a_restored_state_gives_the_same_observation_and_next_step(environment: VlaBenchEnv) -> None:
    first, second, third = _actions(environment, 3)
    environment.reset(seed=6)
    environment.step(first)
    state, seen = environment.state(), environment.observe()
    after = environment.step(second)
    environment.step(third)
    environment.set_state(state)
    _assert_same(environment.observe(), seen)
    again = environment.step(second)
    _assert_same(again[0], after[0])
    assert again[1] == after[1]


def test_advance_is_step_without_rendering(environment: VlaBenchEnv) -> None:
    action = _actions(environment, 1)[0]
    environment.reset(seed=3)
    observation, *others = environment.step(action)
    environment.reset(seed=3)
    reward, terminated, truncated, info = environment.advance(action)
    _assert_same(environment.observe(), observation)
    assert [reward, terminated, truncated] == others[:3]
    assert info.keys() == others[3].keys()


def test_actions_are_clipped_to_their_range(environment: VlaBenchEnv) -> None:
    states = []
    for scale in (1.0, 3.0):
        environment.reset(seed=3)
        environment.advance(scale * np.ones(environment.simulation.action_dim))
        states.append(environment.state())
    assert np.array_equal(*states)


def test_instruction_and_paraphrases_fit_the_observation_space(environment: VlaBenchEnv) -> None:
    space, task = environment.observation_space["instruction"], environment.task
    sentences = [task.instruction, *task.paraphrases]
    assert len(sentences) >= 6
    assert len(set(sentences)) == len(sentences)
    assert all(space.contains(sentence) for sentence in sentences)


def test_the_goal_is_not_reached_at_the_start(environment: VlaBenchEnv) -> None:
    found = start_problems(Path(environment.task.suite), environment, seeds=3)
    assert [str(problem) for problem in found if problem.severity == "error"] == []


def test_the_expert_solves_all_but_one_of_a_few_episodes(environment: VlaBenchEnv, recorded: Demonstration) -> None:
    task = environment.task
    tried = [try_expert(environment, make_expert(task), _identity(task, index)) for index in range(1, _EXPERT_SEEDS)]
    steps = [one.steps for one in (recorded, *tried) if one.success]
    assert len(steps) >= _EXPERT_SEEDS - 1
    assert max(steps) < task.horizon


def test_a_demonstration_is_stored_completely_and_can_be_replayed(
    environment: VlaBenchEnv, recorded: Demonstration, tmp_path: Path
) -> None:
    write_demonstrations(tmp_path / "one.hdf5", header_of(environment), [recorded])
    with DemonstrationFile(tmp_path / "one.hdf5") as file:
        (kept,) = file
    assert kept.summary() == recorded.summary()
    for name in ("actions", "executed_actions", "states", "proprioception", "rewards", "dones"):
        assert np.array_equal(getattr(kept, name), getattr(recorded, name)), name
    assert all(np.array_equal(kept.images[name], image) for name, image in recorded.images.items())
    environment.reset(seed=kept.scene_seed)
    environment.set_state(kept.states[0])
    info: dict[str, object] = {}
    for action, state in zip(kept.executed_actions, kept.states, strict=True):
        assert np.array_equal(environment.state(), state)
        _, _, _, info = environment.advance(action)
    assert info["success"] == kept.success


@pytest.mark.slow
def test_the_expert_solves_nearly_all_of_a_hundred_episodes(environment: VlaBenchEnv) -> None:
    task = environment.task
    identities = [EpisodeIdentity(task.suite, task.name, index, variant="floor") for index in range(100)]
    trials = [try_expert(environment, make_expert(task), identity) for identity in identities]
    failures = [trial.index for trial in trials if not trial.success]
    assert len(failures) <= _FAILURES_OF_A_HUNDRED[task.engine], failures


def test_the_horizon_truncates_the_episode(environment: VlaBenchEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "task", replace(environment.task, horizon=3))
    still = np.zeros(environment.simulation.action_dim)
    environment.reset(seed=0)
    assert [environment.advance(still)[1:3] for _ in range(3)] == [(False, False), (False, False), (False, True)]
    with pytest.raises(ConventionError, match=r"after an episode has ended"):
        environment.step(still)


@pytest.mark.parametrize("task_id", _FIRST_OF_EACH_SUITE)
def test_options_decide_the_observation(task_id: str) -> None:
    environment = vla_bench.make(task_id, image_size=40, cameras=("wrist",), depth=True, rendering="faithful")
    observation, _ = environment.reset(seed=0)
    assert list(observation["images"]) == list(observation["depth"]) == ["wrist"]
    assert observation["images"]["wrist"].shape == (40, 40, 3)
    assert observation["depth"]["wrist"].shape == (40, 40)
    assert observation["depth"]["wrist"].dtype == np.float32
    assert 0.02 < observation["depth"]["wrist"].min() < 1.0
    assert environment.observation_space.contains(observation)
    environment.close()


def test_wrong_actions_are_refused(environment: VlaBenchEnv) -> None:
    environment.reset(seed=0)
    size = environment.simulation.action_dim
    with pytest.raises(ConventionError, match=rf"shape \(6,\)\. Expected \({size},\)"):
        environment.step(np.zeros(6))
    with pytest.raises(ConventionError, match="not finite"):
        environment.step(np.full(size, np.nan))


@pytest.mark.parametrize("task_id", _FIRST_OF_EACH_SUITE)
def test_reset_comes_first_then_wait_steps_then_the_episode(task_id: str) -> None:
    waiting, instant = (vla_bench.make(task_id, cameras=(), wait_steps=steps) for steps in (2, 0))
    still = np.tile([0, 0, 0, 0, 0, 0, -1.0], instant.simulation.action_dim // ACTION_DIM)
    with pytest.raises(ConventionError, match=r"step\(\) was called before reset\(\)"):
        instant.step(still)
    waiting.reset(seed=5)
    instant.reset(seed=5)
    for _ in range(2):
        instant.advance(still)
    assert np.array_equal(waiting.state(), instant.state())
    waiting.close()
    instant.close()


def test_errors_about_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"No task named 'robosuite\.lif'\. Did you mean 'robosuite\.lift'"):
        vla_bench.make("robosuite.lif")
    with pytest.raises(UnknownNameError, match=r"No camera named 'agent_view'\. Did you mean 'agentview'"):
        vla_bench.make(_FIRST_OF_EACH_SUITE[0], cameras=("agent_view",))
    with pytest.raises(ConventionError, match=r"rendering='pretty' is unknown\. Known: fast, faithful"):
        vla_bench.make(_FIRST_OF_EACH_SUITE[0], rendering="pretty")  # type: ignore[arg-type]
