"""Recording devices: policies, recordings, keyboards and SpaceMice."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vla_bench
from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import UnknownNameError
from vla_bench.core.types import Observation
from vla_bench.demos import CollectOptions, Demonstration, record_episode, write_demonstrations
from vla_bench.demos.attempts import RecordingFactory
from vla_bench.demos.devices import DeviceError, DeviceSpec, DeviceStoppedError, devices
from vla_bench.demos.devices.human import HumanDevice, OpenCvWindow
from vla_bench.demos.recording import DeviceRecorder, header_of
from vla_bench.envs.environment import VlaBenchEnv

IDENTITY = EpisodeIdentity("tabletop_object", "red_cube_in_basket", 3, variant="demonstration")
OPEN = -1.0


@pytest.fixture(scope="module")
def env() -> Iterator[VlaBenchEnv]:
    env = vla_bench.make(IDENTITY.task_id, image_size=16)
    yield env
    env.close()


@dataclass
class VirtualMotionInput:
    """Motion input that returns the given motions, then none."""

    motions: list[Sequence[float]]
    starts: int = 0

    def start(self) -> None:
        self.starts += 1

    def action(self) -> Any:
        return np.array(self.motions.pop(0) if self.motions else [0, 0, 0, 0, 0, 0, OPEN], dtype=np.float32)


@dataclass
class VirtualWindow:
    """Window that shows nothing and returns keys after the given numbers of shown frames."""

    keys: dict[int, str]
    shown: list[Sequence[str]] = field(default_factory=list)
    closed: bool = False

    def show(self, observation: Observation, lines: Sequence[str]) -> None:
        assert observation["images"]["agentview"].shape == (16, 16, 3)
        self.shown.append(lines)

    def pressed_keys(self) -> list[str]:
        key = self.keys.get(len(self.shown))
        return [key] if key else []

    def close(self) -> None:
        self.closed = True


def human_device(
    keys: dict[int, str], *motions: Sequence[float]
) -> tuple[HumanDevice, VirtualMotionInput, VirtualWindow]:
    hand, window = VirtualMotionInput(list(motions)), VirtualWindow(keys)
    return HumanDevice("keyboard", hand, "arrows", lambda: window, sleep=lambda seconds: None), hand, window


RIGHT = [0, 0.5, 0, 0, 0, 0, OPEN]


@pytest.mark.parametrize(("key", "success"), [("enter", True), ("backspace", False)])
def test_a_key_ends_the_episode_with_the_persons_verdict(env: VlaBenchEnv, key: str, success: bool) -> None:
    device, hand, _ = human_device({5: key}, RIGHT, RIGHT)
    made = record_episode(env, device, IDENTITY)
    assert made is not None
    assert (made.steps, made.success, made.judged_by, made.device) == (4, success, "person", "keyboard")
    np.testing.assert_array_equal(made.actions[:, 1], [0.5, 0.5, 0, 0])
    assert made.dones.tolist() == [False, False, False, True]
    assert set(made.phases) == {"reach"}
    assert hand.starts == 1


def test_recording_starts_with_the_first_motion(env: VlaBenchEnv) -> None:
    still = [0, 0, 0, 0, 0, 0, OPEN]
    device, _, window = human_device({9: "enter"}, still, still, still, still, RIGHT)
    made = record_episode(env, device, IDENTITY)
    assert made is not None
    assert made.steps == 4  # frames 5 to 8
    assert "move to start" in window.shown[0][1]
    assert window.shown[-1][1] == "4 steps recorded   gripper open"
    assert "put the red cube in the basket" in window.shown[0][0]


def test_discarding_or_judging_before_the_first_step_records_nothing(env: VlaBenchEnv) -> None:
    assert record_episode(env, human_device({4: "delete"}, RIGHT)[0], IDENTITY) is None
    assert record_episode(env, human_device({1: "enter"})[0], IDENTITY) is None


@pytest.mark.parametrize("key", ["escape", "closed"])
def test_stopping_at_the_device_ends_the_episode(env: VlaBenchEnv, key: str) -> None:
    with pytest.raises(DeviceStoppedError):
        record_episode(env, human_device({3: key}, RIGHT)[0], IDENTITY)


class StoppedRecorder(DeviceRecorder):
    def __call__(self, identity: EpisodeIdentity) -> Demonstration:
        raise DeviceStoppedError


def test_a_worker_reports_that_the_person_stopped(tmp_path: Path) -> None:
    attempt = RecordingFactory(CollectOptions(("tabletop_object",), tmp_path / "x.hdf5"), StoppedRecorder)()
    assert attempt(IDENTITY).stopped


def test_motion_is_read_at_the_control_rate(env: VlaBenchEnv) -> None:
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    device = HumanDevice(
        "keyboard", VirtualMotionInput([RIGHT] * 9), "", lambda: VirtualWindow({9: "enter"}), lambda: now[0], sleep
    )
    record_episode(env, device, IDENTITY)
    assert sum(slept) == pytest.approx(8 / 20)


def test_solving_the_task_ends_the_episode_without_a_key(env: VlaBenchEnv) -> None:
    expert = record_episode(env, DeviceSpec().make(), IDENTITY)
    assert expert is not None
    made = record_episode(env, human_device({}, *expert.executed_actions.tolist())[0], IDENTITY)
    assert made is not None
    assert (made.success, made.judged_by, made.steps) == (True, "task", expert.steps)
    np.testing.assert_array_equal(made.states, expert.states)


def test_a_recording_repeats_its_actions(env: VlaBenchEnv, tmp_path: Path) -> None:
    expert = record_episode(env, DeviceSpec().make(), IDENTITY)
    assert expert is not None
    write_demonstrations(tmp_path / "x.hdf5", header_of(env), [expert])
    device = DeviceSpec("recording", path=tmp_path / "x.hdf5").make()
    made = record_episode(env, device, IDENTITY)
    assert made is not None
    assert (made.device, made.success, made.phases) == ("recording x.hdf5", True, expert.phases)
    np.testing.assert_array_equal(made.states, expert.states)
    np.testing.assert_array_equal(made.images["wrist"], expert.images["wrist"])
    with pytest.raises(DeviceError, match=r"x.hdf5 holds no episode 4 of tabletop_object.red_cube_in_basket"):
        record_episode(env, device, replace(IDENTITY, index=4))


class Waver:
    """Actor that is created outside of the package."""

    def begin(self, env: VlaBenchEnv, identity: EpisodeIdentity) -> None:
        self.step = 0

    def act(self, observation: Observation) -> Any:
        assert observation["images"]["wrist"].shape == (16, 16, 3)
        self.step += 1
        return np.array([0.3 * (-1) ** self.step, 0, 0, 0, 0, 0, OPEN], dtype=np.float32)


def test_an_actor_from_the_caller_acts_as_a_policy(env: VlaBenchEnv) -> None:
    made = record_episode(env, DeviceSpec("policy", "waver", actor=Waver).make(), IDENTITY)
    assert made is not None
    assert (made.device, made.success, made.judged_by) == ("policy waver", False, "task")
    assert made.steps == env.task.horizon
    np.testing.assert_allclose(made.actions[:2, 0], [-0.3, 0.3])


def test_missing_device_options_are_reported() -> None:
    with pytest.raises(UnknownNameError, match=r"No device named 'keybord'\. Did you mean 'keyboard'"):
        DeviceSpec("keybord").make()
    with pytest.raises(DeviceError, match=r"needs a policy\. Name one \(--policy\)"):
        DeviceSpec("policy").make()
    with pytest.raises(DeviceError, match=r"needs a file\. Name one \(--recording\)"):
        DeviceSpec("recording").make()
    assert set(devices) == {"expert", "policy", "recording", "keyboard", "spacemouse"}


def test_a_window_without_a_desktop_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(DeviceError, match=r"No window can be opened, because there is no desktop: DISPLAY is not set"):
        OpenCvWindow()
