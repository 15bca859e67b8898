"""A window that shows a person what the cameras see, and hears the keys that judge an episode."""

import os
import sys
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from vla_bench.core.types import ImageArray, Observation
from vla_bench.demos.devices.device import DeviceError

_TITLE = "vla-bench record"
_HEIGHT = 384  # pixels of a camera, at least
_BAND = 22  # pixels of a line of text
_INK, _PAPER = (235, 235, 235), (24, 24, 24)

KEYS = {  # of OpenCV's `waitKeyEx`, on its different desktops -> name
    13: "enter",
    10: "enter",
    8: "backspace",
    0xFF08: "backspace",
    0xFFFF: "delete",
    3014656: "delete",
    27: "escape",
    0xFF1B: "escape",
}


class Window(Protocol):
    """Shows, and hears keys."""

    def show(self, observation: Observation, lines: Sequence[str]) -> None:
        """Show what is seen now, with lines of text under it."""

    def pressed(self) -> list[str]:
        """Return the names of the keys pressed since the last call: enter, backspace, delete, escape, closed."""

    def close(self) -> None:
        """Close the window."""


class OpenCvWindow:
    """The cameras side by side. Needs a desktop."""

    def __init__(self) -> None:
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise DeviceError("No window can be opened: no desktop is reached (DISPLAY is not set).")
        import cv2

        self._cv2: Any = cv2
        self._shown = False
        try:
            cv2.namedWindow(_TITLE, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)
        except cv2.error as error:
            raise DeviceError(f"No window can be opened: {str(error).strip().splitlines()[0]}.") from error

    def show(self, observation: Observation, lines: Sequence[str]) -> None:
        """Draw the cameras and the text."""
        picture = framed(list(observation["images"].values()), lines, self._cv2)
        self._cv2.imshow(_TITLE, picture[:, :, ::-1])
        self._shown = True

    def pressed(self) -> list[str]:
        """Let the window live for a moment and return what was pressed."""
        names = []
        while (code := self._cv2.waitKeyEx(1)) != -1:
            if code in KEYS:
                names.append(KEYS[code])
        if self._shown and self._cv2.getWindowProperty(_TITLE, self._cv2.WND_PROP_VISIBLE) < 1:
            names.append("closed")
        return names

    def close(self) -> None:
        """Close the window."""
        self._cv2.destroyAllWindows()
        self._cv2.waitKey(1)


def framed(images: Sequence[ImageArray], lines: Sequence[str], cv2: Any) -> ImageArray:
    """Return images side by side, large enough to act by, over lines of text."""
    row = np.concatenate(images, axis=1)
    scale = -(-_HEIGHT // row.shape[0])
    row = row.repeat(scale, axis=0).repeat(scale, axis=1)
    band = np.full((_BAND * len(lines) + 8, row.shape[1], 3), _PAPER, dtype=np.uint8)
    for number, line in enumerate(lines):
        at = (8, _BAND * (number + 1) - 4)
        cv2.putText(band, line, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, _INK, 1, cv2.LINE_AA)
    return np.concatenate([row, band], axis=0)
