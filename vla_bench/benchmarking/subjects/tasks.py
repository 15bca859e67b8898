"""One tabletop task after the other in one process, as a worker that goes through suites meets them."""

from typing import Any

import numpy as np

from vla_bench.envs.environment import make as make_environment
from vla_bench.tasks import get_task, task_ids

_STEPS = 20  # control steps of each task


class TaskAfterTask:
    """Makes the next task, begins an episode with its images, takes some steps and closes it."""

    def __init__(self) -> None:
        self._ids = [task_id for task_id in task_ids() if get_task(task_id).engine == "tabletop"]
        self._next = 0

    def step(self) -> bool:
        """Go through the next task."""
        env = make_environment(self._ids[self._next % len(self._ids)])
        self._next += 1
        env.reset(seed=0)
        for _ in range(_STEPS):
            env.step(np.zeros(env.action_dim, dtype=np.float32))
        env.close()
        return False

    def reset(self) -> None:
        """Nothing to begin."""


def make(options: dict[str, Any]) -> TaskAfterTask:
    """Return the tasks, none of them made yet."""
    return TaskAfterTask()
