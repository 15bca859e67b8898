"""Recording devices: experts, policies, recordings and people. The registry `devices` lists them by name."""

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


Verdict = Literal["end", "success", "failure", "discard"]  # "end": the task decides on success


class DeviceError(VlaBenchError):
    """A device that is unavailable on this machine or has invalid options."""


class DeviceStoppedError(DeviceError):
    """The person at the device stopped the recording."""

    def __init__(self) -> None:
        super().__init__("The recording was stopped at the device.")


@dataclass(frozen=True)
class Decision:
    """Decision of a device at a step; a verdict ends the episode without executing the action."""

    action: NDArray[np.float32]  # (7,) in [-1, 1]: the label to learn from
    phase: str = ""  # of the task; empty: as the environment reports it
    executed: NDArray[np.float32] | None = None  # action sent to the robot, where a recording has another one
    verdict: Verdict | None = None


class Device(Protocol):
    """Source of actions in recorded episodes."""

    @property
    def name(self) -> str:
        """Name of the device, as recorded in the file."""

    @property
    def needs_images(self) -> bool:
        """True if the device needs images in its observations."""

    def begin(self, env: "VlaBenchEnv", identity: EpisodeIdentity, observation: Observation) -> Observation:
        """Start an episode that was just reset; return its first observation, which is new if the device changed it."""

    def decide(self, observation: Observation) -> Decision:
        """Return the decision for the current step."""

    def close(self) -> None:
        """Release resources, such as a window."""


class Actor(Protocol):
    """An object outside this package that acts, such as a policy."""

    def begin(self, env: "VlaBenchEnv", identity: EpisodeIdentity) -> None:
        """Start an episode."""

    def act(self, observation: Observation) -> NDArray[np.float32]:
        """Return the next action, (7,)."""


@dataclass(frozen=True)
class DeviceSpec:
    """Specification of a device; it is pickled to the worker process, which creates the device."""

    name: str = "expert"
    detail: str = ""  # printed after the name, such as the policy
    path: Path | None = None  # of a recording
    actor: Callable[[], Actor] | None = None  # creates the actor of the device `policy`
    settings: dict[str, Any] = field(default_factory=dict)  # JSON values that determine its actions, such as a card

    def make(self) -> "Device":
        """Return the device; raise `UnknownNameError` for an unknown name."""
        return devices[self.name](self)

    def configuration(self) -> dict[str, Any]:
        """Return, as JSON values, everything that determines its actions."""
        return {"name": self.name, "detail": self.detail, **self.settings}


devices: Registry[Callable[[DeviceSpec], Device]] = Registry("device", package="vla_bench.demos.devices")


__all__ = ["Decision", "Device", "DeviceError", "DeviceSpec", "Verdict", "devices"]
