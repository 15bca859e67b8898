"""What stands between the action that is wanted and the one that moves the robot: noise, then slips."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.types import ACTION_DIM, World
from vla_bench.demos.demonstration import NOMINAL
from vla_bench.demos.noise import Noise, NoiseOptions, make_noise
from vla_bench.demos.slips import SlipOptions, Slips


class Disturbance(Protocol):
    """Disturbs the actions of one episode."""

    def disturb(self, action: NDArray[np.float32], world: World) -> tuple[NDArray[np.float32], str]:
        """Return the action that moves the robot, (7,), and the label of the step; to be called once a step."""


def make_disturbance(
    identity: EpisodeIdentity, noise: NoiseOptions | None = None, slips: SlipOptions | None = None
) -> Disturbance:
    """Return the disturbance of one episode, which follows from its identity."""
    return _NoiseThenSlips(
        make_noise(noise, identity.generator("noise")),
        _NoSlips() if slips is None else Slips(slips, identity.generator("slips")),
    )


class _NoiseThenSlips:
    def __init__(self, noise: Noise, slips: Disturbance) -> None:
        self._noise, self._slips = noise, slips

    def disturb(self, action: NDArray[np.float32], world: World) -> tuple[NDArray[np.float32], str]:
        arms = len(action) // ACTION_DIM
        noise = np.concatenate([self._noise.sample() for _ in range(arms)])
        executed = np.clip(action + noise, -1.0, 1.0).astype(np.float32)
        return self._slips.disturb(executed, world)


class _NoSlips:
    def disturb(self, action: NDArray[np.float32], world: World) -> tuple[NDArray[np.float32], str]:
        return action, NOMINAL
