"""Recording devices: policies, recordings, keyboards and SpaceMice."""

import importlib
import os
import queue
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import ImageGrab

import vla_bench
from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import UnknownNameError
from vla_bench.core.types import ImageArray, Observation
from vla_bench.demos import CollectOptions, Demonstration, record_episode, write_demonstrations
from vla_bench.demos.attempts import RecordingFactory
from vla_bench.demos.devices import DeviceError, DeviceSpec, DeviceStoppedError, devices
from vla_bench.demos.devices.human import HumanDevice, OpenCvWindow, compose_frame
from vla_bench.demos.recording import DeviceRecorder, header_of
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.envs.robosuite.input_devices import InputDeviceError, RobosuiteInputDevice, keyboard, spacemouse
from vla_bench.tasks import get_task

IDENTITY = EpisodeIdentity("tabletop_object", "red_cube_in_basket", 3, variant="demonstration")
CLOSE, OPEN = 1.0, -1.0


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


def test_a_frame_shows_enlarged_cameras_above_the_text() -> None:
    import cv2

    images = [np.full((16, 16, 3), colour, dtype=np.uint8) for colour in (50, 200)]
    picture = compose_frame(images, ["one", "two"], cv2)
    assert picture.shape == (384 + 2 * 22 + 8, 768, 3)
    assert (picture[:384, :384] == 50).all()
    assert (picture[:384, 384:] == 200).all()
    assert (picture[384:] > 200).any(), "no text was written"


@pytest.fixture
def no_listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let robosuite's drivers run without a desktop, with a listener that receives no keys."""
    monkeypatch.setenv("PYNPUT_BACKEND", "dummy")
    dropped = [name for name in sys.modules if name.startswith(("pynput", "robosuite.devices"))]
    before = {name: sys.modules.pop(name) for name in dropped}
    listener = importlib.import_module("pynput.keyboard").Listener
    monkeypatch.setattr(listener, "start", lambda self: None)
    yield
    for name in [name for name in sys.modules if name.startswith(("pynput", "robosuite.devices"))]:
        del sys.modules[name]
    sys.modules.update(before)


def press(hand: RobosuiteInputDevice, *characters: str) -> None:
    """Press and release keys of robosuite's keyboard."""
    from pynput.keyboard import KeyCode

    for character in characters:
        hand._device.on_press(KeyCode.from_char(character))
        hand._device.on_release(KeyCode.from_char(character))


@pytest.mark.usefixtures("no_listener")
def test_keys_of_robosuites_keyboard_become_actions() -> None:
    hand = keyboard()
    hand.start()
    assert hand.action().tolist() == [0, 0, 0, 0, 0, 0, OPEN]
    press(hand, ".")
    assert hand.action().tolist() == [0, 0, -1, 0, 0, 0, OPEN]  # down
    press(hand, ";", "p")
    up_and_turn = hand.action()
    assert up_and_turn[2] == 1
    assert up_and_turn[5] == pytest.approx(-0.15)
    assert not hand.action()[:6].any()
    hand._device.grasp_states[0][0] = True  # as the space bar does
    assert hand.action()[6] == CLOSE
    hand.start()
    assert hand.action()[6] == OPEN


class VirtualHid(ModuleType):
    """Replacement of the library `hid`, with one SpaceMouse that sends the given packets."""

    def __init__(self) -> None:
        super().__init__("hid")
        self.packets: queue.Queue[list[int]] = queue.Queue()
        self.present = True

    def device(self) -> "VirtualHid":
        return self

    def open(self, vendor_id: int, product_id: int) -> None:
        if not self.present:
            raise OSError("open failed")

    def enumerate(self) -> list[dict[str, object]]:
        return []

    def get_manufacturer_string(self) -> str:
        return "3Dconnexion"

    get_product_string = get_manufacturer_string

    def read(self, size: int) -> list[int]:
        return self.packets.get()


def packet(*axes: int) -> list[int]:
    """Return a report of the six axes, -350 to 350 each, in the SpaceMouse's order y, x, z, roll, pitch, yaw."""
    return [1, *(byte for axis in axes for byte in int(axis).to_bytes(2, "little", signed=True))]


@pytest.mark.usefixtures("no_listener")
def test_spacemouse_input_becomes_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    hid = VirtualHid()
    monkeypatch.setitem(sys.modules, "hid", hid)
    hand = spacemouse()
    hand.start()
    hid.packets.put(packet(350, 0, -175, 0, 0, 350))
    hid.packets.put([3, 1])
    deadline = time.monotonic() + 5
    wanted = [0, 0.625, 0.3125, 0, 0, -0.25, CLOSE]  # another thread reads the two packets
    while not np.allclose(action := hand.action(), wanted, atol=1e-6) and time.monotonic() < deadline:
        time.sleep(0.01)
    np.testing.assert_allclose(action, wanted, atol=1e-6)
    hid.packets.put([3, 0])
    hid.packets.put(packet(0, 0, 0, 0, 0, 0))
    while (action := hand.action())[:6].any() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert action.tolist() == [0, 0, 0, 0, 0, 0, OPEN]


@pytest.mark.usefixtures("no_listener")
def test_a_missing_spacemouse_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    hid = VirtualHid()
    hid.present = False
    monkeypatch.setitem(sys.modules, "hid", hid)
    with pytest.raises(InputDeviceError, match=r"No SpaceMouse can be opened: No 3Dconnexion devices found\. Plug it"):
        spacemouse()
    monkeypatch.setitem(sys.modules, "hid", None)
    sys.modules.pop("robosuite.devices.spacemouse", None)
    with pytest.raises(InputDeviceError, match="`pip install hidapi`"):
        spacemouse()


needs_xvfb = pytest.mark.skipif(
    not (shutil.which("Xvfb") and shutil.which("xdotool")), reason="needs Xvfb and xdotool, to type into a real window"
)


@pytest.fixture
def desktop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run the test on a virtual X display."""
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1024x768x24", "-noreset"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as number:
        monkeypatch.setenv("DISPLAY", f":{number.readline().strip()}")
    yield
    server.terminate()
    server.wait()


PIXELS = 32


class RealWindow:
    """A person at the real window, who reads its second line and presses keys."""

    def type(self, key: str, *after: str) -> None:
        """Press a key once the window shows one of the lines `after`; earlier keys would be discarded."""
        texts = {self._rendered(line).tobytes() for line in after}
        deadline = time.monotonic() + 300
        while self._line(window := self._found()).tobytes() not in texts:
            assert time.monotonic() < deadline, f"the window never showed {after[-1]!r}"
            time.sleep(0.05)
        subprocess.run(["xdotool", "windowfocus", "--sync", window, "key", key], check=True)

    @staticmethod
    def _found() -> str:
        """Return the window's id; the toolkit may open the window twice during its setup."""
        search = ["xdotool", "search", "--sync", "--onlyvisible", "--name", "vla-bench record"]
        return subprocess.run(search, capture_output=True, text=True, check=True, timeout=300).stdout.split()[-1]

    @staticmethod
    def _line(window: str) -> ImageArray:
        geometry = ["xdotool", "getwindowgeometry", "--shell", window]
        values = dict(line.split("=") for line in subprocess.check_output(geometry, text=True).split())
        left, top, width, height = (int(values[name]) for name in ("X", "Y", "WIDTH", "HEIGHT"))
        screen = ImageGrab.grab((left, top, left + width, top + height), xdisplay=os.environ["DISPLAY"])
        return RealWindow._second(np.asarray(screen))

    @staticmethod
    def _rendered(line: str) -> ImageArray:
        return RealWindow._second(compose_frame([np.zeros((PIXELS, PIXELS, 3), np.uint8)] * 2, ("", line, "", ""), cv2))

    @staticmethod
    def _second(window: ImageArray) -> ImageArray:
        return window[-70:-49]  # the second of four lines of 22 pixels above a margin of 8


@needs_xvfb
@pytest.mark.slow
@pytest.mark.usefixtures("desktop")
def test_keys_in_a_real_window_record_an_episode(tmp_path: Path) -> None:
    """Run the whole command: X events, robosuite's keyboard, OpenCV's window, and a file that replays."""
    from vla_bench.demos import DemonstrationFile
    from vla_bench.demos.replay import ReplayFactory

    output = tmp_path / "typed.hdf5"
    command = [sys.executable, "-m", "vla_bench", "record", "--device", "keyboard", "--image-size", str(PIXELS)]
    command += ["-t", IDENTITY.task_id, "-n", "1", "--keep-failures", "-o", str(output)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        window = RealWindow()
        began = "move to start   gripper open"
        steps = range(1, get_task(IDENTITY.task_id).horizon + 1)
        moving, holding = ([f"{n} steps recorded   gripper {state}" for n in steps] for state in ("open", "closed"))
        for motion, verdict in (("Right", "Delete"), ("Left", "BackSpace"), ("Up", "Return")):
            window.type(motion, began)
            window.type("space", *moving)
            window.type(verdict, *holding)
        printed, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, printed
    with DemonstrationFile(output) as file:
        failed, succeeded = (file.read(name) for name in file.names)
    assert (failed.success, failed.executed_actions[0, 1]) == (False, -1.0)
    assert (succeeded.success, succeeded.executed_actions[0, 0]) == (True, -1.0)
    assert succeeded.executed_actions[-1, 6] == CLOSE
    assert {failed.judged_by, succeeded.judged_by} == {"person"}
    assert ReplayFactory(output)()("demo_1").exact
