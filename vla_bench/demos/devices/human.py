"""Devices for a person: keyboard and SpaceMouse, and the window that shows the cameras and receives keys."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.types import ACTION_DIM, CONTROL_HZ, ImageArray, Observation
from vla_bench.demos.devices import Decision, DeviceError, DeviceSpec, DeviceStoppedError, Verdict, devices

if TYPE_CHECKING:
    from vla_bench.envs.environment import VlaBenchEnv


_WINDOW_TITLE = "vla-bench record"
_MIN_IMAGE_HEIGHT = 384  # smallest height of a camera image [pixels]
_LINE_HEIGHT = 22  # of text [pixels]
_TEXT_COLOR, _BACKGROUND_COLOR = (235, 235, 235), (24, 24, 24)

KEY_NAMES = {  # key code of OpenCV's `waitKeyEx` on different desktops -> name
    13: "enter",
    10: "enter",
    8: "backspace",
    0xFF08: "backspace",
    0xFFFF: "delete",
    3014656: "delete",
    27: "escape",
    0xFF1B: "escape",
}


VERDICT_BY_KEY: dict[str, Verdict] = {"enter": "success", "backspace": "failure", "delete": "discard"}
_STOP_KEYS = ("escape", "closed")
_KEY_HELP = "Enter: success   Backspace: failure   Delete: discard and restart   Esc: stop"


_MOTIONS = "arrows: horizontal   ; up   . down   o p: rotate   y h, e r: tilt   space: gripper"


_SPACEMOUSE_MOTIONS = "move and twist the cap: the end-effector follows   hold left button: gripper closes"


class Window(Protocol):
    """A window that shows images and receives keys."""

    def show(self, observation: Observation, lines: Sequence[str]) -> None:
        """Show the images of an observation above lines of text."""

    def pressed_keys(self) -> list[str]:
        """Return the names of the keys pressed_keys since the last call: enter, backspace, delete, escape, closed."""

    def close(self) -> None:
        """Close the window."""


class OpenCvWindow:
    """An OpenCV window with the cameras side by side; it needs a desktop."""

    def __init__(self) -> None:
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise DeviceError("No window can be opened, because there is no desktop: DISPLAY is not set.")
        import cv2

        self._cv2: Any = cv2
        self._shown = False
        try:
            cv2.namedWindow(_WINDOW_TITLE, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)
        except cv2.error as error:
            raise DeviceError(f"No window can be opened: {str(error).strip().splitlines()[0]}.") from error

    def show(self, observation: Observation, lines: Sequence[str]) -> None:
        """Show the images above the text."""
        frame = compose_frame(list(observation["images"].values()), lines, self._cv2)
        self._cv2.imshow(_WINDOW_TITLE, frame[:, :, ::-1])
        self._shown = True

    def pressed_keys(self) -> list[str]:
        """Process the window's events and return the names of the pressed keys."""
        names = []
        while (code := self._cv2.waitKeyEx(1)) != -1:
            if code in KEY_NAMES:
                names.append(KEY_NAMES[code])
        if self._shown and self._cv2.getWindowProperty(_WINDOW_TITLE, self._cv2.WND_PROP_VISIBLE) < 1:
            names.append("closed")
        return names

    def close(self) -> None:
        """Close the window."""
        self._cv2.destroyAllWindows()
        self._cv2.waitKey(1)


def compose_frame(images: Sequence[ImageArray], lines: Sequence[str], cv2: Any) -> ImageArray:
    """Return images side by side, enlarged to a usable size, above lines of text."""
    row = np.concatenate(images, axis=1)
    scale = -(-_MIN_IMAGE_HEIGHT // row.shape[0])
    row = row.repeat(scale, axis=0).repeat(scale, axis=1)
    band = np.full((_LINE_HEIGHT * len(lines) + 8, row.shape[1], 3), _BACKGROUND_COLOR, dtype=np.uint8)
    for number, line in enumerate(lines):
        at = (8, _LINE_HEIGHT * (number + 1) - 4)
        cv2.putText(band, line, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, _TEXT_COLOR, 1, cv2.LINE_AA)
    return np.concatenate([row, band], axis=0)


class MotionInput(Protocol):
    """Motion commands of a person; implemented in `vla_bench.envs.robosuite.input_devices`."""

    def start(self) -> None:
        """Discard earlier input."""

    def action(self) -> NDArray[np.float32]:
        """Return the motion since the last call as an action, (7,)."""


class HumanDevice:
    """A person's motion as actions at the control rate.

    An episode ends when the person gives a verdict, when the goal is reached, or at the horizon; in the last two cases
    the task decides on success. Recording starts with the first motion.
    """

    needs_images = True

    def __init__(
        self,
        name: str,
        controller: MotionInput,
        motions: str,
        window: Callable[[], Window] = OpenCvWindow,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self._controller, self._motions = controller, motions
        self._window = window()
        self._clock, self._sleep = clock, sleep
        self._due_s = 0.0
        self._steps = 0  # recorded in this episode
        self._gripper = "open"
        self._title = ""

    def begin(self, env: "VlaBenchEnv", identity: EpisodeIdentity, observation: Observation) -> Observation:
        """Start an episode; raise `DeviceError` for a robot with two arms."""
        if env.action_dim != ACTION_DIM:
            raise DeviceError(f"{identity.task_id} has {env.action_dim // ACTION_DIM} arms; this device controls one.")
        self._controller.start()
        self._title = f"{observation['instruction']}   ({identity.task_id}, episode {identity.index})"
        self._steps, self._due_s, self._gripper = 0, self._clock(), "open"
        return observation

    def decide(self, observation: Observation) -> Decision:
        """Return the person's motion or verdict; wait for the first motion of an episode."""
        while True:
            self._window.show(observation, (self._title, self._state(), self._motions, _KEY_HELP))
            for key in self._window.pressed_keys():
                if key in _STOP_KEYS:
                    raise DeviceStoppedError
                if key in VERDICT_BY_KEY:
                    return Decision(np.zeros(7, dtype=np.float32), verdict=VERDICT_BY_KEY[key])
            self._wait()
            action = np.clip(self._controller.action(), -1.0, 1.0)
            self._gripper = "closed" if action[-1] > 0 else "open"
            if self._steps or action[:-1].any() or action[-1] > 0:
                self._steps += 1
                return Decision(action.astype(np.float32))

    def close(self) -> None:
        """Close the window."""
        self._window.close()

    def _state(self) -> str:
        recorded = f"{self._steps} steps recorded" if self._steps else "move to start"
        return f"{recorded}   gripper {self._gripper}"

    def _wait(self) -> None:
        """Wait for the next control step; lost time is not caught up on a slow machine."""
        self._due_s = max(self._due_s + 1.0 / CONTROL_HZ, self._clock())
        self._sleep(max(0.0, self._due_s - self._clock()))


@devices.named("keyboard")
def keyboard_device(spec: DeviceSpec) -> HumanDevice:
    """Return the device of a person at a keyboard, read by robosuite's driver."""
    from vla_bench.envs.robosuite.input_devices import keyboard

    return HumanDevice("keyboard", keyboard(), _MOTIONS)


@devices.named("spacemouse")
def spacemouse_device(spec: DeviceSpec) -> HumanDevice:
    """Return the device of a person with a SpaceMouse, read by robosuite's driver."""
    from vla_bench.envs.robosuite.input_devices import spacemouse

    return HumanDevice("spacemouse", spacemouse(), _SPACEMOUSE_MOTIONS)
