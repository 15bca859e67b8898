"""Actions arrive late and with noise."""

from collections import deque

import numpy as np

from vla_bench.core.types import ACTION_DIM, FloatArray
from vla_bench.envs.perturbations.effect import Effect, axes

_STILL = np.array([0, 0, 0, 0, 0, 0, -1.0])


@axes.named("action")
class ActionEffect(Effect):
    """Noise on the motion of 0.05, 0.075 or 0.1 (standard deviation; 1 is a whole action), late by 0, 1 or 2 steps."""

    def begin(self, generator: np.random.Generator) -> None:
        """Begin with nothing on the way."""
        super().begin(generator)
        self._delay = int(self.scaled(0, 1, 2))
        self._on_the_way: deque[FloatArray] = deque()

    def act(self, action: FloatArray) -> FloatArray:
        """Return the action that arrives now."""
        self._on_the_way.append(np.asarray(action, dtype=np.float64))
        late = len(self._on_the_way) > self._delay
        arrived = self._on_the_way.popleft().copy() if late else np.tile(_STILL, len(action) // ACTION_DIM)
        moving = np.arange(len(action)) % ACTION_DIM < ACTION_DIM - 1  # all but the grippers
        arrived[moving] += self.scaled(0.05, 0.075, 0.1) * self.generator.normal(size=int(moving.sum()))
        return arrived
