"""Experts by name: the scripted expert and the expert without access to the instruction."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.registry import Registry
from vla_bench.core.types import World
from vla_bench.experts import Expert, make_expert
from vla_bench.tasks import Task, tasks_of
from vla_bench.tasks.catalogue import sharing_start


def make_blind_expert(task: Task) -> "BlindExpert":
    """Return the language-blind expert of a registered task."""
    return BlindExpert(sharing_start(task, tasks_of(task.suite)))


class BlindExpert:
    """An expert without the instruction: it solves a random one of the tasks with the same start scenes.

    The task is sampled from the generator of the episode. If this expert succeeds much more often than one time in
    `len(tasks)`, the scene reveals the task.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._experts = [make_expert(task) for task in tasks]
        self.tasks = tuple(tasks)
        self.sampled_task = self.tasks[0]
        self._expert = self._experts[0]

    @property
    def phase(self) -> str:
        """The phase of the last action."""
        return self._expert.phase

    def reset(self, world: World, generator: np.random.Generator) -> None:
        """Start an episode with a newly sampled task."""
        number = int(generator.integers(len(self.tasks)))
        self.sampled_task, self._expert = self.tasks[number], self._experts[number]
        self._expert.reset(world, generator)

    def act(self, world: World) -> NDArray[np.float32]:
        """Return the next action of the expert of the sampled task."""
        return self._expert.act(world)


experts_by_name: Registry[Callable[[Task], Expert]] = Registry("expert")
experts_by_name.register(make_expert, name="expert")
experts_by_name.register(make_blind_expert, name="blind-expert")
