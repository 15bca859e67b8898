"""Motion of bounded acceleration: a wrapper that limits how fast an expert's wish may change."""

import numpy as np

from vla_bench.core.types import FloatArray, World
from vla_bench.experts.expert import Expert
from vla_bench.experts.skills import Action

_LARGEST_POSITION_CHANGE = 0.4  # of an action's translation from one control step to the next; 1 is 5 cm
_LARGEST_ROTATION_CHANGE = 0.4  # of its rotation; 1 is 0.5 rad


class SmoothMotion:
    """Follow an expert, moving each arm's translation and rotation by no more than a limit a step.

    The limit binds the length of the change, so a turn stays in the plane of the old and the new direction. It starts
    from rest. Grippers answer at once: a grip that comes late is a grip that fails.
    """

    def __init__(self, expert: Expert) -> None:
        self._expert = expert
        self._last: Action | None = None

    @property
    def phase(self) -> str:
        """What the last action was for."""
        return self._expert.phase

    def reset(self, world: World, generator: np.random.Generator) -> None:
        """Begin an episode, at rest."""
        self._expert.reset(world, generator)
        self._last = None

    def act(self, world: World) -> Action:
        """Return the expert's next action, or the nearest to it that the last one allows."""
        action = self._expert.act(world).copy()
        last = np.zeros_like(action) if self._last is None else self._last
        for arm in range(0, len(action), 7):  # two arms act in one vector, 7 numbers each
            _follow(action, last, slice(arm, arm + 3), _LARGEST_POSITION_CHANGE)
            _follow(action, last, slice(arm + 3, arm + 6), _LARGEST_ROTATION_CHANGE)
        self._last = action
        return action.copy()


def _follow(action: FloatArray, last: FloatArray, part: slice, largest: float) -> None:
    change = action[part] - last[part]
    length = float(np.linalg.norm(change))
    if length > largest:
        action[part] = last[part] + change * (largest / length)
