"""Skills: closed-loop controllers that reach one goal predicate each."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.registry import Registry
from vla_bench.core.types import World
from vla_bench.tasks.task import Goal

# ~ What a skill is, and the registry of those that there are.

Action = NDArray[np.float32]


class Skill(Protocol):
    """Something that an expert knows how to do."""

    def act(self, world: World) -> tuple[Action, str]:
        """Return the next action, 7 numbers for each arm, and the phase it belongs to."""


skills: Registry[Callable[[Goal], Skill]] = Registry("skill for the goal predicate", package="vla_bench.experts.skills")


# ~ Skills that reach one goal predicate each, a module a skill.
# ~
# ~ Every decision follows from the world as it is now, so a skill recovers from disturbance by itself: a thing that
# ~ is
# ~ dropped is picked up again.

__all__ = ["Action", "Skill", "skills"]
