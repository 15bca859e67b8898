"""Skills: closed-loop controllers that reach one goal predicate each.

Every decision follows from the current world, so a skill recovers from disturbances: a dropped item is picked up again.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.registry import Registry
from vla_bench.core.types import World
from vla_bench.tasks.task import Goal

Action = NDArray[np.float32]


class Skill(Protocol):
    """A closed-loop controller that reaches one goal."""

    def act(self, world: World) -> tuple[Action, str]:
        """Return the next action, 7 numbers per arm, and its phase."""


skills: Registry[Callable[[Goal], Skill]] = Registry("skill for the goal predicate", package="vla_bench.experts.skills")


__all__ = ["Action", "Skill", "skills"]
