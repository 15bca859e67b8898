"""A person who acts, in real time, by what a window shows; keys say how the episode went."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.types import ACTION_DIM, CONTROL_HZ, Observation
from vla_bench.demos.devices.device import Decision, DeviceError, DeviceStoppedError, Verdict
from vla_bench.demos.devices.window import OpenCvWindow, Window

if TYPE_CHECKING:  # at run time only a worker that records loads the simulator
    from vla_bench.envs.environment import VlaBenchEnv

VERDICTS: dict[str, Verdict] = {"enter": "success", "backspace": "failure", "delete": "discard"}  # by key
_STOPS = ("escape", "closed")
_HELP = "Enter: success   Backspace: failure   Delete: discard, begin again   Esc: stop"


class Controller(Protocol):
    """A person's hand; see `vla_bench.envs.hand_controllers`."""

    def start(self) -> None:
        """Forget what came before."""

    def action(self) -> NDArray[np.float32]:
        """Return what the hand did since the last call, (7,)."""


class HandDevice:
    """Turns a hand's motion into actions at the rate of control.

    An episode also ends by itself, with the task's own verdict, when the goal is met or the horizon reached. Until the
    hand first moves, nothing is recorded.
    """

    looks = True

    def __init__(
        self,
        name: str,
        controller: Controller,
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
        self._steps = 0  # of this episode
        self._gripper = "open"
        self._title = ""

    def begin(self, env: "VlaBenchEnv", identity: EpisodeIdentity, observation: Observation) -> Observation:
        """Show the scene and wait for the hand to move; raise `DeviceError` for a robot with two arms."""
        if env.action_dim != ACTION_DIM:
            raise DeviceError(f"{identity.task_id} has {env.action_dim // ACTION_DIM} arms; a hand moves one.")
        self._controller.start()
        self._title = f"{observation['instruction']}   ({identity.task_id}, episode {identity.index})"
        self._steps, self._due_s, self._gripper = 0, self._clock(), "open"
        return observation

    def decide(self, observation: Observation) -> Decision:
        """Return the hand's motion, or what the person says of the episode."""
        while True:
            self._window.show(observation, (self._title, self._state(), self._motions, _HELP))
            for key in self._window.pressed():
                if key in _STOPS:
                    raise DeviceStoppedError
                if key in VERDICTS:
                    return Decision(np.zeros(7, dtype=np.float32), verdict=VERDICTS[key])
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
        recorded = f"{self._steps} steps recorded" if self._steps else "move to begin"
        return f"{recorded}   gripper {self._gripper}"

    def _wait(self) -> None:
        """Keep to the rate of control; where the machine is slower, time is not made up for."""
        self._due_s = max(self._due_s + 1.0 / CONTROL_HZ, self._clock())
        self._sleep(max(0.0, self._due_s - self._clock()))
