"""Rollout statistics of an episode: furthest phase, path length, dropped and disturbed objects, contact forces."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vla_bench.core.types import FloatArray, World
from vla_bench.tasks.predicates.items import grasped, moved
from vla_bench.tasks.progress import PHASES

if TYPE_CHECKING:
    from vla_bench.envs.environment import VlaBenchEnv


# ~ How far an episode ever came, which is not always where it ended.

_UNORDERED = PHASES.index("carry")  # a phase of its own kind lies between touching a thing and letting it go


@dataclass(frozen=True)
class FurthestPhase:
    """The most progress of an episode so far, and the furthest phase at that progress."""

    progress: float = 0.0
    phase: str = ""

    def after(self, progress: float, phase: str) -> "FurthestPhase":
        """Return what is the furthest now that the episode is in `phase`."""
        here = FurthestPhase(progress, phase)
        return here if here._place() > self._place() else self

    def _place(self) -> tuple[float, int]:
        """Return a key that grows with how far it is: the subgoals met, then the phase on the way to the next."""
        if not self.phase:
            return self.progress, -1
        return self.progress, PHASES.index(self.phase) if self.phase in PHASES else _UNORDERED


# ~ How an episode went, beside whether it succeeded: the hand's way, things dropped and disturbed, forces.

_DROP_HEIGHT_M = 0.04  # that a thing let go of must fall to have been dropped
_DROP_WINDOW_STEPS = 10  # for so long after the fingers have left it


@dataclass(frozen=True)
class RolloutStatistics:
    """What is recorded; -1 where it was not."""

    path_length_m: float = -1.0  # of the end-effector's way
    drops: int = -1  # of a thing that a goal speaks of, where letting it go met no goal
    disturbed: int = -1  # things that no goal speaks of and that ended more than 5 cm from where they began
    peak_force_n: float = -1.0  # largest normal force at a contact of the gripper, once a control step


class RolloutStatisticsRecorder:
    """Watches one episode in its environment."""

    def __init__(self, environment: "VlaBenchEnv") -> None:
        self._task, self._simulation = environment.task, environment.simulation
        world = environment.simulation.world
        self._wanted = tuple(
            dict.fromkeys(
                argument for goal in self._task.goal for argument in goal.arguments if argument in world.items()
            )
        )
        self._last: FloatArray = world.end_effector_position_world().copy()
        self._held: set[str] = set()
        self._falling: dict[str, tuple[float, int]] = {}  # height when let go of [m], steps left to watch
        self._path_m, self._drops, self._peak_n = 0.0, 0, 0.0

    def note(self) -> None:
        """Look at the world after a control step."""
        world = self._simulation.world
        position = world.end_effector_position_world()
        self._path_m += float(np.linalg.norm(position - self._last))
        self._last = position.copy()
        self._peak_n = max(self._peak_n, self._simulation.gripper_force_n())
        self._watch(world)

    def rollout_statistics(self) -> RolloutStatistics:
        """Return what was recorded so far."""
        world = self._simulation.world
        others = [item for item in world.items() if item not in self._wanted]
        parts = tuple(f"{item}_" for item in world.items())
        disturbed = [item for item in others if not item.startswith(parts) and moved(world, item)]
        return RolloutStatistics(self._path_m, self._drops, len(disturbed), self._peak_n)

    def _watch(self, world: World) -> None:
        held = {item for item in self._wanted if grasped(world, item)}
        for item in self._held - held:
            self._falling[item] = (float(world.position_world(item)[2]), _DROP_WINDOW_STEPS)
        for item, (height_m, left) in list(self._falling.items()):
            if item in held or not left:
                del self._falling[item]
            elif world.position_world(item)[2] < height_m - _DROP_HEIGHT_M:
                del self._falling[item]
                self._drops += not self._is_where_it_should(world, item)
            else:
                self._falling[item] = (height_m, left - 1)
        self._held = held

    def _is_where_it_should(self, world: World, item: str) -> bool:
        """Whether a goal that speaks of the item first holds, other than that it be let go of."""
        return any(goal.holds(world) for goal in self._task.aims if goal.arguments[0] == item)
