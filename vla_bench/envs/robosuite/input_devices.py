"""robosuite's keyboard and SpaceMouse drivers as sources of actions."""

import contextlib
import io
import logging
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.errors import VlaBenchError

_ARM = "right"  # robosuite's name of a single arm


class InputDeviceError(VlaBenchError):
    """A keyboard or SpaceMouse that cannot be used on this machine."""


class InputDevice(Protocol):
    """A device by which a person controls the robot."""

    def start(self) -> None:
        """Discard earlier input: no motion, gripper open."""

    def action(self) -> NDArray[np.float32]:
        """Return the person's input since the last call as an action, (7,) in [-1, 1]."""


class RobosuiteInputDevice:
    """One of robosuite's devices; its input is converted to actions as by robosuite's `Device.input2action`."""

    def __init__(self, device: Any) -> None:
        self._device = device

    def start(self) -> None:
        """Discard earlier input."""
        self._device.start_control()

    def action(self) -> NDArray[np.float32]:
        """Return position and rotation deltas in the world frame, and the gripper (-1 open, +1 close)."""
        state = self._device.get_controller_state()
        rotation = np.asarray(state["raw_drotation"], dtype=float)[[1, 0, 2]] * (1.0, 1.0, -1.0)
        position, rotation = self._device._postprocess_device_outputs(np.asarray(state["dpos"], float), rotation)
        gripper = 1.0 if state["grasp"] else -1.0
        action: NDArray[np.float32] = np.concatenate([position, rotation, [gripper]]).astype(np.float32)
        return action


def keyboard() -> RobosuiteInputDevice:
    """Return robosuite's keyboard; raise `InputDeviceError` if it cannot be read."""
    with _quiet():
        try:
            from robosuite.devices.keyboard import Keyboard
        except ImportError as error:  # pynput connects to a display when it is imported
            raise InputDeviceError(
                f"The keyboard cannot be read: {_first_line(error)}. Record in a desktop session (DISPLAY is set), and "
                "`pip install pynput` if it is missing."
            ) from error
        return RobosuiteInputDevice(Keyboard(_one_arm()))


def spacemouse() -> RobosuiteInputDevice:
    """Return robosuite's SpaceMouse; raise `InputDeviceError` if there is none."""
    with _quiet():
        try:
            from robosuite.devices.spacemouse import SpaceMouse
        except ImportError as error:
            raise InputDeviceError(
                f"The SpaceMouse cannot be read: {_first_line(error)}. `pip install hidapi`, and record in a desktop "
                "session (DISPLAY is set)."
            ) from error
        try:
            return RobosuiteInputDevice(SpaceMouse(_one_arm()))
        except OSError as error:
            raise InputDeviceError(
                f"No SpaceMouse can be opened: {_first_line(error)}. Connect it, and allow your user to read it by "
                'a udev rule such as SUBSYSTEM=="hidraw", ATTRS{idVendor}=="256f", MODE="0666".'
            ) from error


def _one_arm() -> SimpleNamespace:
    """Return the only part of an environment that robosuite's devices read: one robot with one arm."""
    return SimpleNamespace(robots=[SimpleNamespace(arms=[_ARM])])


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


@contextlib.contextmanager
def _quiet() -> Any:
    """Suppress robosuite's log messages and its lists of keys, some of which are not used here."""
    logger = logging.getLogger("robosuite_logs")
    disabled, logger.disabled = logger.disabled, True
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.disabled = disabled
