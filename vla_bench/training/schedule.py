"""The learning rate of every step: a linear warm-up, then one of three courses."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vla_bench.training.config import OptimiserConfig

# How much of the way from the final to the highest learning rate is left after the share `done` of the course.
_COURSES: Mapping[str, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
    "linear": lambda done: 1.0 - done,
    "constant": lambda done: 1.0,
}


@dataclass(frozen=True)
class Schedule:
    """Learning rates of a run of known length."""

    options: OptimiserConfig
    total_steps: int

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of step `step`, counted from 0."""
        options, warmup = self.options, self.options.total_warmup(self.total_steps)
        if step < warmup:
            return options.learning_rate * (step + 1) / warmup
        done = (step - warmup) / max(1, self.total_steps - warmup)
        left = _COURSES[options.schedule](done)
        return options.learning_rate * (options.final_share + (1.0 - options.final_share) * left)
