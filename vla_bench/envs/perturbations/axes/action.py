"""Actions arrive late and with noise."""

from collections import deque

import numpy as np

from vla_bench.core.types import FloatArray
from vla_bench.envs.perturbations.effect import Effect, axes


@axes.named("action")
class ActionEffect(Effect):
    """Noise on the motion of 0.05, 0.1 or 0.2 (standard deviation; 1 is a whole action), late by 0, 1 or 2 steps."""

    def begin(self, generator: np.random.Generator) -> None:
        """Fill the way with actions that do nothing."""
        super().begin(generator)
        still = np.array([0, 0, 0, 0, 0, 0, -1.0])
        self._on_the_way = deque([still] * int(self.scaled(0, 1, 2)))

    def act(self, action: FloatArray) -> FloatArray:
        """Return the action that arrives now."""
        self._on_the_way.append(np.asarray(action, dtype=np.float64))
        arrived = self._on_the_way.popleft().copy()
        arrived[:6] += self.scaled(0.05, 0.1, 0.2) * self.generator.normal(size=6)
        return np.clip(arrived, -1.0, 1.0)
