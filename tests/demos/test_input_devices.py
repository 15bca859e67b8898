"""Drivers of keyboard and SpaceMouse, and the window in which a person records."""

import importlib
import os
import queue
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from PIL import ImageGrab

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.types import ImageArray
from vla_bench.demos.devices.human import compose_frame
from vla_bench.envs.robosuite.input_devices import InputDeviceError, RobosuiteInputDevice, keyboard, spacemouse
from vla_bench.tasks import get_task

IDENTITY = EpisodeIdentity("tabletop_object", "red_cube_in_basket", 3, variant="demonstration")
CLOSE, OPEN = 1.0, -1.0


def test_a_frame_shows_enlarged_cameras_above_the_text() -> None:
    images = [np.full((16, 16, 3), value, dtype=np.uint8) for value in (50, 200)]
    frame = compose_frame(images, ["one", "two"], cv2)
    assert frame.shape == (384 + 2 * 22 + 8, 768, 3)
    assert (frame[:384, :384] == 50).all()
    assert (frame[:384, 384:] == 200).all()
    assert (frame[384:] > 200).any(), "no text was written"


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
    with pytest.raises(InputDeviceError, match=r"No SpaceMouse can be opened: No 3Dconnexion .* found\. Connect"):
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
