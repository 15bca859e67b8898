"""Rollout statistics of an episode: furthest phase, path length, dropped and disturbed objects, contact forces."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vla_bench.core.types import FloatArray, World
from vla_bench.tasks.predicates.items import grasped, moved
from vla_bench.tasks.progress import PHASES

if TYPE_CHECKING:
    from vla_bench.envs.environment import VlaBenchEnv

_UNORDERED = PHASES.index("carry")  # rank of phases outside `PHASES`: between touching an object and releasing it
_DROP_HEIGHT_M = 0.04  # an object that falls further after its release counts as dropped
_DROP_WINDOW_STEPS = 10  # after the release, in which the fall is measured


@dataclass(frozen=True)
class PhaseProgress:
    """The largest progress of an episode so far, and the furthest phase at that progress."""

    progress: float = 0.0
    phase: str = ""

    def after(self, progress: float, phase: str) -> "PhaseProgress":
        """Return the furthest phase after a step with this progress and phase."""
        here = PhaseProgress(progress, phase)
        return here if here._place() > self._place() else self

    def _place(self) -> tuple[float, int]:
        """Return a sort key: first the subgoals met, then the phase of the next subgoal."""
        if not self.phase:
            return self.progress, -1
        return self.progress, PHASES.index(self.phase) if self.phase in PHASES else _UNORDERED


@dataclass(frozen=True)
class RolloutStatistics:
    """Rollout statistics of one episode; -1 if not recorded."""

    path_length_m: float = -1.0  # of the end-effector path
    drops: int = -1  # releases of a goal object that met no goal
    disturbed: int = -1  # objects outside all goals that ended more than 5 cm from their start position
    peak_force_n: float = -1.0  # largest normal force at a contact of the gripper, sampled once per control step


class RolloutStatisticsRecorder:
    """Records the rollout statistics of one episode, from the reset of `environment` on."""

    def __init__(self, environment: "VlaBenchEnv") -> None:
        self._task, self._simulation = environment.task, environment.simulation
        world = environment.simulation.world
        self._goal_objects = tuple(
            dict.fromkeys(
                argument for goal in self._task.goal for argument in goal.arguments if argument in world.items()
            )
        )
        self._last: FloatArray = world.end_effector_position_world().copy()
        self._held: set[str] = set()
        self._falling: dict[str, tuple[float, int]] = {}  # height at release [m], steps left in the window
        self._path_m, self._drops, self._peak_n = 0.0, 0, 0.0

    def record_step(self) -> None:
        """Update the statistics after a control step."""
        world = self._simulation.world
        position = world.end_effector_position_world()
        self._path_m += float(np.linalg.norm(position - self._last))
        self._last = position.copy()
        self._peak_n = max(self._peak_n, self._simulation.gripper_force_n())
        self._update_drops(world)

    def result(self) -> RolloutStatistics:
        """Return the statistics of the episode so far."""
        world = self._simulation.world
        others = [item for item in world.items() if item not in self._goal_objects]
        parts = tuple(f"{item}_" for item in world.items())
        disturbed = [item for item in others if not item.startswith(parts) and moved(world, item)]
        return RolloutStatistics(self._path_m, self._drops, len(disturbed), self._peak_n)

    def _update_drops(self, world: World) -> None:
        held = {item for item in self._goal_objects if grasped(world, item)}
        for item in self._held - held:
            self._falling[item] = (float(world.position_world(item)[2]), _DROP_WINDOW_STEPS)
        for item, (height_m, left) in list(self._falling.items()):
            if item in held or not left:
                del self._falling[item]
            elif world.position_world(item)[2] < height_m - _DROP_HEIGHT_M:
                del self._falling[item]
                self._drops += not self._is_at_goal(world, item)
            else:
                self._falling[item] = (height_m, left - 1)
        self._held = held

    def _is_at_goal(self, world: World, item: str) -> bool:
        """Return whether a goal about `item` is met, apart from its release."""
        return any(goal.holds(world) for goal in self._task.aims if goal.arguments[0] == item)
