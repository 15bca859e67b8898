"""robosuite's keyboard and SpaceMouse drivers as sources of actions."""

import contextlib
import io
import logging
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.errors import VlaBenchError

# ~ robosuite's drivers for a person's hand: its keyboard and its SpaceMouse, as sources of our actions.
# ~
# ~ They stand here because robosuite belongs to this sub-package; which episodes they act in is the recorder's
# ~ business.

_ARM = "right"  # what robosuite calls a single arm


class InputDeviceError(VlaBenchError):
    """A keyboard or SpaceMouse that cannot be used here."""


class InputDevice(Protocol):
    """A person's hand."""

    def start(self) -> None:
        """Forget what came before: no motion, gripper open."""

    def action(self) -> NDArray[np.float32]:
        """Return what the hand did since the last call, (7,) in [-1, 1]."""


class RobosuiteInputDevice:
    """One of robosuite's devices, whose readings become actions as its own `Device.input2action` has them."""

    def __init__(self, device: Any) -> None:
        self._device = device

    def start(self) -> None:
        """Forget what came before."""
        self._device.start_control()

    def action(self) -> NDArray[np.float32]:
        """Return position and rotation deltas in the world's axes, and the gripper (-1 open, +1 close)."""
        state = self._device.get_controller_state()
        rotation = np.asarray(state["raw_drotation"], dtype=float)[[1, 0, 2]] * (1.0, 1.0, -1.0)
        position, rotation = self._device._postprocess_device_outputs(np.asarray(state["dpos"], float), rotation)
        gripper = 1.0 if state["grasp"] else -1.0
        action: NDArray[np.float32] = np.concatenate([position, rotation, [gripper]]).astype(np.float32)
        return action


def keyboard() -> RobosuiteInputDevice:
    """Return robosuite's keyboard; raise `InputDeviceError` where keys cannot be heard."""
    with _quiet():
        try:
            from robosuite.devices.keyboard import Keyboard
        except ImportError as error:  # of pynput, which wants to reach a display when it is imported
            raise InputDeviceError(
                f"No keyboard can be heard: {_first_line(error)}. Record where there is a desktop (DISPLAY is set), "
                "and `pip install pynput` if it is missing."
            ) from error
        return RobosuiteInputDevice(Keyboard(_one_arm()))


def spacemouse() -> RobosuiteInputDevice:
    """Return robosuite's SpaceMouse; raise `InputDeviceError` where there is none."""
    with _quiet():
        try:
            from robosuite.devices.spacemouse import SpaceMouse
        except ImportError as error:
            raise InputDeviceError(
                f"No SpaceMouse can be read: {_first_line(error)}. `pip install hidapi`, and record where there is a "
                "desktop (DISPLAY is set)."
            ) from error
        try:
            return RobosuiteInputDevice(SpaceMouse(_one_arm()))
        except OSError as error:
            raise InputDeviceError(
                f"No SpaceMouse can be opened: {_first_line(error)}. Plug it in, and let your user read it, by a udev "
                'rule such as SUBSYSTEM=="hidraw", ATTRS{idVendor}=="256f", MODE="0666".'
            ) from error


def _one_arm() -> SimpleNamespace:
    """Return what robosuite's devices want to know of an environment: that it has one robot with one arm."""
    return SimpleNamespace(robots=[SimpleNamespace(arms=[_ARM])])


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


@contextlib.contextmanager
def _quiet() -> Any:
    """Keep robosuite's lists of keys, which are not all ours, and its remarks off the terminal."""
    logger = logging.getLogger("robosuite_logs")
    disabled, logger.disabled = logger.disabled, True
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.disabled = disabled
