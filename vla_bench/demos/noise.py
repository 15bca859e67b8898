"""Noise added to an expert's actions, so that demonstrations show how to recover.

The noisy action moves the robot; the expert, closed loop, answers from wherever that leads, and its clean answer is
what is recorded as the label. The gripper is never disturbed.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.types import ACTION_DIM

NoiseKind = Literal["bursts", "drift"]

_YAW = 5  # index of the rotation about the vertical
_REVERSION = 0.15  # share of a drift that fades at each step


class NoiseOptionsError(VlaBenchError):
    """Noise that cannot be made as asked for."""


@dataclass(frozen=True)
class NoiseOptions:
    """How strongly, and how, an expert is disturbed. Strengths are in action units: 1 is 5 cm or 0.5 rad a step."""

    translation: float = 0.3  # standard deviation on each of x, y, z
    yaw: float = 0.1  # standard deviation of the rotation about the vertical
    kind: NoiseKind = "bursts"
    burst_probability: float = 0.08  # that a burst begins, at a step without one
    burst_steps: tuple[int, int] = (2, 6)  # shortest and longest burst

    def __post_init__(self) -> None:
        if self.kind not in get_args(NoiseKind):
            raise NoiseOptionsError(f"No noise named {self.kind!r}. Known: {', '.join(get_args(NoiseKind))}.")
        if not (0 <= self.translation <= 1 and 0 <= self.yaw <= 1 and 0 <= self.burst_probability <= 1):
            given = f"translation {self.translation}, yaw {self.yaw}, burst_probability {self.burst_probability}"
            raise NoiseOptionsError(f"Noise out of range: {given}. Expected numbers from 0 to 1.")
        if not 1 <= self.burst_steps[0] <= self.burst_steps[1]:
            raise NoiseOptionsError(f"burst_steps {self.burst_steps}: expected (shortest, longest), from 1 on.")


class Noise(Protocol):
    """A sequence of disturbances of one episode."""

    def sample(self) -> NDArray[np.float32]:
        """Return what to add to the next action, (7,)."""


def make_noise(options: NoiseOptions | None, generator: np.random.Generator) -> Noise:
    """Return the noise of one episode; none for `None`."""
    if options is None:
        return _Silence()
    return _KINDS[options.kind](options, generator)


class _Silence:
    def sample(self) -> NDArray[np.float32]:
        return np.zeros(ACTION_DIM, dtype=np.float32)


class _Bursts:
    """Pushes in one direction that last a few steps, with quiet between them."""

    def __init__(self, options: NoiseOptions, generator: np.random.Generator) -> None:
        self._options, self._generator = options, generator
        self._push = np.zeros(ACTION_DIM, dtype=np.float32)
        self._steps_left = 0

    def sample(self) -> NDArray[np.float32]:
        if self._steps_left > 0:
            self._steps_left -= 1
        elif self._generator.random() < self._options.burst_probability:
            shortest, longest = self._options.burst_steps
            self._steps_left = int(self._generator.integers(shortest, longest + 1)) - 1
            self._push = _gaussian(self._options, self._generator)
        else:
            self._push = np.zeros(ACTION_DIM, dtype=np.float32)
        return self._push


class _Drift:
    """An Ornstein-Uhlenbeck process: disturbance that wanders and comes back, with the given standard deviation."""

    def __init__(self, options: NoiseOptions, generator: np.random.Generator) -> None:
        self._options, self._generator = options, generator
        self._drift = _gaussian(options, generator)

    def sample(self) -> NDArray[np.float32]:
        kept = 1 - _REVERSION
        fresh = np.float32(np.sqrt(1 - kept**2)) * _gaussian(self._options, self._generator)
        self._drift = np.float32(kept) * self._drift + fresh
        return self._drift


_KINDS: dict[str, type[_Bursts] | type[_Drift]] = {"bursts": _Bursts, "drift": _Drift}


def _gaussian(options: NoiseOptions, generator: np.random.Generator) -> NDArray[np.float32]:
    noise = np.zeros(ACTION_DIM, dtype=np.float32)
    noise[:3] = options.translation * generator.normal(size=3)
    noise[_YAW] = options.yaw * generator.normal()
    return noise
