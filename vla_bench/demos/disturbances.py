"""Action noise and slips injected during collection, so that demonstrations show how to recover.

The disturbed action moves the robot. The expert acts in closed loop from the state that results, and its clean action
is recorded as the label. Noise never disturbs the gripper. In a slip, at a random moment while something is held, the
gripper opens for some steps, the end-effector is pushed, or both. Every step has a label: nominal, slip or recovery.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import VlaBenchError
from vla_bench.core.types import ACTION_DIM, FloatArray, World
from vla_bench.demos.demonstration import NOMINAL, RECOVERY, SLIP

NoiseKind = Literal["bursts", "drift"]

_YAW = 5  # index of the rotation about the vertical

_REVERSION = 0.15  # fraction of a drift that decays at each step

SlipKind = Literal["drop", "push", "both"]

_OPEN = -1.0  # gripper command

_CLOSED_STEPS = 3  # of closing commands before an object in contact counts as held


class NoiseOptionsError(VlaBenchError):
    """Noise options that are unknown or out of range."""


@dataclass(frozen=True)
class NoiseOptions:
    """Action noise. Strengths are in action units: 1 is 5 cm or 0.5 rad a step."""

    translation: Annotated[
        float, Field(description="Standard deviation of the noise on each of x, y, z; 1 is 5 cm per step.")
    ] = 0.3
    yaw: Annotated[
        float,
        Field(description="Standard deviation of the rotation about the vertical axis; 1 is 0.5 rad per step."),
    ] = 0.1
    kind: Annotated[NoiseKind, Field(description="Noise added to the executed actions.")] = "bursts"
    burst_probability: float = 0.08  # that a burst starts at a step without one
    burst_steps: tuple[int, int] = (2, 6)  # shortest and longest burst

    def __post_init__(self) -> None:
        if self.kind not in get_args(NoiseKind):
            raise NoiseOptionsError(f"There is no noise named {self.kind!r}. Known: {', '.join(get_args(NoiseKind))}.")
        if not (0 <= self.translation <= 1 and 0 <= self.yaw <= 1 and 0 <= self.burst_probability <= 1):
            given = f"translation {self.translation}, yaw {self.yaw}, burst_probability {self.burst_probability}"
            raise NoiseOptionsError(f"Noise options are out of range: {given}. Expected numbers from 0 to 1.")
        if not 1 <= self.burst_steps[0] <= self.burst_steps[1]:
            raise NoiseOptionsError(
                f"burst_steps is {self.burst_steps}; expected (shortest, longest), both at least 1."
            )


class SlipOptionsError(VlaBenchError):
    """Slip options that are unknown or out of range."""


@dataclass(frozen=True)
class SlipOptions:
    """Slips of held objects."""

    kind: Annotated[
        SlipKind,
        Field(description="While an object is held, open the gripper, push the end-effector, or both."),
    ] = "drop"
    most: Annotated[int, Field(ge=1, description="Largest number of slips in an episode.")] = 1
    per_step: Annotated[
        float, Field(description="Probability that a slip starts, at each step in which an object is held.")
    ] = 0.08
    steps: tuple[int, int] = (4, 8)  # shortest and longest duration
    push: Annotated[
        float, Field(description="Standard deviation of the push on each of x, y, z; 1 is 5 cm per step.")
    ] = 0.5

    def __post_init__(self) -> None:
        if self.kind not in get_args(SlipKind):
            raise SlipOptionsError(f"There is no slip named {self.kind!r}. Known: {', '.join(get_args(SlipKind))}.")
        if self.most < 1 or not 0 < self.per_step <= 1 or not 0 <= self.push <= 1:
            given = f"most {self.most}, per_step {self.per_step}, push {self.push}"
            raise SlipOptionsError(
                f"Slip options are out of range: {given}. Expected most >= 1, 0 < per_step <= 1 and 0 <= push <= 1."
            )
        if not 1 <= self.steps[0] <= self.steps[1]:
            raise SlipOptionsError(
                f"The steps of a slip are {self.steps}; expected (shortest, longest), both at least 1."
            )


class Disturbance(Protocol):
    """Disturbance of the actions of one episode."""

    def disturb(self, action: NDArray[np.float32], world: World) -> tuple[NDArray[np.float32], str]:
        """Return the action sent to the robot, (7,), and the label of the step; call once a step."""


def make_disturbance(
    identity: EpisodeIdentity, noise: NoiseOptions | None = None, slips: SlipOptions | None = None
) -> Disturbance:
    """Return the disturbance of one episode, determined by its identity."""
    return _NoiseThenSlips(
        make_noise(noise, identity.generator("noise")),
        _NoSlips() if slips is None else Slips(slips, identity.generator("slips")),
    )


class Noise(Protocol):
    """Noise of one episode."""

    def sample(self) -> NDArray[np.float32]:
        """Return the noise to add to the next action, (7,)."""


def make_noise(options: NoiseOptions | None, generator: np.random.Generator) -> Noise:
    """Return the noise of one episode; zeros where `options` is None."""
    if options is None:
        return _NoNoise()
    return _NOISE_CLASSES[options.kind](options, generator)


class Slips:
    """The slips of one episode."""

    def __init__(self, options: SlipOptions, generator: np.random.Generator) -> None:
        self._drops = options.kind != "push"
        self._pending = [_sample_slip(options, generator) for _ in range(options.most)]
        self._closed_steps, self._held_steps, self._left = 0, 0, 0
        self._active: _Slip | None = None
        self._recovery: _Recovery | None = None

    def disturb(self, executed: NDArray[np.float32], world: World) -> tuple[NDArray[np.float32], str]:
        """Return the action sent to the robot, and the label of the step."""
        holding = self._holds(executed, world)
        if self._active is None and self._recovery is None:
            self._begin(holding, world)
        if self._active is not None:
            return self._slip(executed, world), SLIP
        if self._recovery is not None:
            if not self._recovery.is_over(holding, world):
                return executed, RECOVERY
            self._recovery, self._held_steps = None, 0
        return executed, NOMINAL

    def _holds(self, executed: NDArray[np.float32], world: World) -> bool:
        """Return whether the gripper has been closing for some steps and touches an object."""
        self._closed_steps = self._closed_steps + 1 if (_split_by_arm(executed)[:, -1] > 0).any() else 0
        if self._closed_steps < _CLOSED_STEPS:
            return False
        return any(world.in_contact(item, "gripper") for item in world.items())

    def _begin(self, holding: bool, world: World) -> None:
        self._held_steps += holding
        if holding and self._pending and self._held_steps > self._pending[0].after:
            self._active = self._pending.pop(0)
            self._left = self._active.steps
            self._from_world = world.end_effector_position_world().copy()

    def _slip(self, executed: NDArray[np.float32], world: World) -> NDArray[np.float32]:
        assert self._active is not None, "no slip is active"
        moved = executed.copy()
        arms = _split_by_arm(moved)
        arms[:, :3] = np.clip(arms[:, :3] + self._active.push, -1.0, 1.0)
        if self._drops:
            arms[:, -1] = _OPEN
            self._closed_steps = 0
        self._left -= 1
        if self._left == 0:
            self._active, self._recovery = None, _Recovery(self._from_world)
        return moved


class _NoNoise:
    def sample(self) -> NDArray[np.float32]:
        return np.zeros(ACTION_DIM, dtype=np.float32)


class _Bursts:
    """Noise that pushes in one direction for a few steps, with pauses between the bursts."""

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
    """Ornstein-Uhlenbeck process with the given standard deviation."""

    def __init__(self, options: NoiseOptions, generator: np.random.Generator) -> None:
        self._options, self._generator = options, generator
        self._drift = _gaussian(options, generator)

    def sample(self) -> NDArray[np.float32]:
        retained = 1 - _REVERSION
        increment = np.float32(np.sqrt(1 - retained**2)) * _gaussian(self._options, self._generator)
        self._drift = np.float32(retained) * self._drift + increment
        return self._drift


_NOISE_CLASSES: dict[str, type[_Bursts] | type[_Drift]] = {"bursts": _Bursts, "drift": _Drift}


def _gaussian(options: NoiseOptions, generator: np.random.Generator) -> NDArray[np.float32]:
    noise = np.zeros(ACTION_DIM, dtype=np.float32)
    noise[:3] = options.translation * generator.normal(size=3)
    noise[_YAW] = options.yaw * generator.normal()
    return noise


@dataclass(frozen=True)
class _Slip:
    """One slip, sampled before the episode starts, so that it does not depend on the episode."""

    after: int  # steps in which something was held
    steps: int
    push: NDArray[np.float32]  # (3,)


class _Recovery:
    """Recovery that ends when something is held again and the end-effector has moved as far as the slip moved it."""

    def __init__(self, from_world: FloatArray) -> None:
        self._from_world = from_world
        self._last_world: FloatArray | None = None
        self._remaining_m = 0.0

    def is_over(self, holding: bool, world: World) -> bool:
        """Return whether the recovery has ended before the current step; call once a step."""
        here = world.end_effector_position_world().copy()
        if self._last_world is None:  # the slip ended in the previous step
            self._remaining_m = float(np.linalg.norm(here - self._from_world))
        else:
            self._remaining_m -= float(np.linalg.norm(here - self._last_world))
        self._last_world = here
        return holding and self._remaining_m <= 0


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


def _split_by_arm(action: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a view of an action with a row for each arm, (arms, 7)."""
    return action.reshape(-1, ACTION_DIM)


def _sample_slip(options: SlipOptions, generator: np.random.Generator) -> _Slip:
    after, steps = generator.geometric(options.per_step), generator.integers(options.steps[0], options.steps[1] + 1)
    push = options.push * generator.normal(size=3)
    pushes = options.kind != "drop"
    return _Slip(int(after), int(steps), (push if pushes else np.zeros(3)).astype(np.float32))
