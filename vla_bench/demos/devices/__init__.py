"""Recording devices: experts, policies, recordings and people."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import VlaBenchError
from vla_bench.core.registry import Registry
from vla_bench.core.types import Observation

if TYPE_CHECKING:
    from vla_bench.envs.environment import VlaBenchEnv


# ~ What a device is, and the registry of those that there are.

Verdict = Literal["end", "success", "failure", "discard"]  # "end" leaves it to the task whether it succeeded


class DeviceError(VlaBenchError):
    """A device that cannot be used here, or as asked for."""


class DeviceStoppedError(DeviceError):
    """A person has had enough."""

    def __init__(self) -> None:
        super().__init__("Stopped at the device.")


@dataclass(frozen=True)
class Decision:
    """What a device wants at a step. With a verdict the episode is over, and the action is not executed."""

    action: NDArray[np.float32]  # (7,) in [-1, 1]: the label to learn from
    phase: str = ""  # what it is for; nothing: what the environment says
    executed: NDArray[np.float32] | None = None  # what moves the robot, where a recording knows that it was another
    verdict: Verdict | None = None


class Device(Protocol):
    """Decides what the robot does in recorded episodes."""

    @property
    def name(self) -> str:
        """What acts, as the file says it."""

    @property
    def needs_images(self) -> bool:
        """Whether it needs the pictures of what it acts on."""

    def begin(self, env: "VlaBenchEnv", identity: EpisodeIdentity, observation: Observation) -> Observation:
        """Begin an episode that was just reset; return what is seen, which is new where the device moved the scene."""

    def decide(self, observation: Observation) -> Decision:
        """Return what to do now."""

    def close(self) -> None:
        """Let go of what it holds, such as a window."""


class Actor(Protocol):
    """Something from outside that acts, such as a policy."""

    def begin(self, env: "VlaBenchEnv", identity: EpisodeIdentity) -> None:
        """Begin an episode."""

    def act(self, observation: Observation) -> NDArray[np.float32]:
        """Return the next action, (7,)."""


@dataclass(frozen=True)
class DeviceSpec:
    """Which device, and what it needs. Goes to the worker process, which makes the device."""

    name: str = "expert"
    detail: str = ""  # shown after the name, such as which policy
    path: Path | None = None  # of a recording
    actor: Callable[[], Actor] | None = None  # makes what acts, for the device `policy`
    settings: dict[str, Any] = field(default_factory=dict)  # JSON values that decide its actions, such as a card

    def make(self) -> "Device":
        """Return the device; raise `UnknownNameError` where there is none of that name."""
        return devices[self.name](self)

    def configuration(self) -> dict[str, Any]:
        """Return, as JSON values, everything that decides how it acts."""
        return {"name": self.name, "detail": self.detail, **self.settings}


devices: Registry[Callable[[DeviceSpec], Device]] = Registry("device", package="vla_bench.demos.devices")


# ~ What may act in a recorded episode: an expert, a policy, a recording, a person. A module a device.

__all__ = ["Decision", "Device", "DeviceError", "DeviceSpec", "Verdict", "devices"]
