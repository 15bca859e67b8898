"""Slips injected while something is held, so that demonstrations show what to do when it is lost.

At a random moment the gripper opens for some steps, or the hand is pushed, or both; the expert, closed loop, makes
good for it, and what it wants at every step is what is recorded as the label. Every step says whether it was
disturbed, or belongs to the recovery.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.types import ACTION_DIM, FloatArray, World
from vla_bench.demos.demonstration import NOMINAL, RECOVERY, SLIP

SlipKind = Literal["drop", "push", "both"]

_OPEN = -1.0  # gripper command
_CLOSED_STEPS = 3  # for which the gripper must have been told to close before what it touches counts as held


class SlipOptionsError(VlaBenchError):
    """Slips that cannot be made as asked for."""


@dataclass(frozen=True)
class SlipOptions:
    """How often, and how, what is held slips."""

    kind: SlipKind = "drop"  # the gripper opens, the hand is pushed, or both at once
    most: int = 1  # slips in an episode
    per_step: float = 0.08  # chance that one begins, at each step of holding something
    steps: tuple[int, int] = (4, 8)  # shortest and longest slip
    push: float = 0.5  # standard deviation on each of x, y, z, in action units: 1 is 5 cm a step

    def __post_init__(self) -> None:
        if self.kind not in get_args(SlipKind):
            raise SlipOptionsError(f"No slip named {self.kind!r}. Known: {', '.join(get_args(SlipKind))}.")
        if self.most < 1 or not 0 < self.per_step <= 1 or not 0 <= self.push <= 1:
            given = f"most {self.most}, per_step {self.per_step}, push {self.push}"
            raise SlipOptionsError(f"Slips out of range: {given}. Expected at least 1, and numbers from 0 to 1.")
        if not 1 <= self.steps[0] <= self.steps[1]:
            raise SlipOptionsError(f"Slip steps {self.steps}: expected (shortest, longest), from 1 on.")


@dataclass(frozen=True)
class _Slip:
    """One slip, drawn before the episode begins, so that it is the same whatever happens."""

    after: int  # steps of holding
    steps: int
    push: NDArray[np.float32]  # (3,)


class Slips:
    """The slips of one episode."""

    def __init__(self, options: SlipOptions, generator: np.random.Generator) -> None:
        self._drops = options.kind != "push"
        self._coming = [_drawn(options, generator) for _ in range(options.most)]
        self._closed_steps, self._held_steps, self._left = 0, 0, 0
        self._now: _Slip | None = None
        self._recovery: _Recovery | None = None

    def disturb(self, executed: NDArray[np.float32], world: World) -> tuple[NDArray[np.float32], str]:
        """Return the action as it moves the robot, and the label of the step."""
        holding = self._holds(executed, world)
        if self._now is None and self._recovery is None:
            self._begin(holding, world)
        if self._now is not None:
            return self._slip(executed, world), SLIP
        if self._recovery is not None:
            if not self._recovery.is_over(holding, world):
                return executed, RECOVERY
            self._recovery, self._held_steps = None, 0
        return executed, NOMINAL

    def _holds(self, executed: NDArray[np.float32], world: World) -> bool:
        """Whether the gripper holds something: it has been closing for a while and touches it."""
        self._closed_steps = self._closed_steps + 1 if (_by_arm(executed)[:, -1] > 0).any() else 0
        if self._closed_steps < _CLOSED_STEPS:
            return False
        return any(world.in_contact(item, "gripper") for item in world.items())

    def _begin(self, holding: bool, world: World) -> None:
        self._held_steps += holding
        if holding and self._coming and self._held_steps > self._coming[0].after:
            self._now = self._coming.pop(0)
            self._left = self._now.steps
            self._from_world = world.end_effector_position_world().copy()

    def _slip(self, executed: NDArray[np.float32], world: World) -> NDArray[np.float32]:
        assert self._now is not None, "no slip now"
        moved = executed.copy()
        arms = _by_arm(moved)
        arms[:, :3] = np.clip(arms[:, :3] + self._now.push, -1.0, 1.0)
        if self._drops:
            arms[:, -1] = _OPEN
            self._closed_steps = 0
        self._left -= 1
        if self._left == 0:
            self._now, self._recovery = None, _Recovery(self._from_world)
        return moved


class _Recovery:
    """Lasts until something is held again and the hand has gone as far as the slip took it."""

    def __init__(self, from_world: FloatArray) -> None:
        self._from_world = from_world
        self._last_world: FloatArray | None = None
        self._to_go_m = 0.0

    def is_over(self, holding: bool, world: World) -> bool:
        """Whether the step that comes now is no part of it any more; to be asked once a step."""
        here = world.end_effector_position_world().copy()
        if self._last_world is None:  # the last step of the slip has just been made
            self._to_go_m = float(np.linalg.norm(here - self._from_world))
        else:
            self._to_go_m -= float(np.linalg.norm(here - self._last_world))
        self._last_world = here
        return holding and self._to_go_m <= 0


def _by_arm(action: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a view of an action with a row for each arm, (arms, 7)."""
    return action.reshape(-1, ACTION_DIM)


def _drawn(options: SlipOptions, generator: np.random.Generator) -> _Slip:
    after, steps = generator.geometric(options.per_step), generator.integers(options.steps[0], options.steps[1] + 1)
    push = options.push * generator.normal(size=3)
    pushes = options.kind != "drop"
    return _Slip(int(after), int(steps), (push if pushes else np.zeros(3)).astype(np.float32))
