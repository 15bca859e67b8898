"""What a user chooses about a collection of demonstrations."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vla_bench.core.errors import UnknownNameError, VlaBenchError
from vla_bench.demos.header import FORMAT_VERSION
from vla_bench.demos.noise import NoiseOptions
from vla_bench.envs.descriptions import describe_robot
from vla_bench.tasks import Task, tasks_of


class CollectOptionsError(VlaBenchError):
    """A collection that cannot be made as asked for."""


@dataclass(frozen=True)
class CollectOptions:
    """Which demonstrations to make, how, and where to put them."""

    suite: str
    output: Path
    tasks: tuple[str, ...] = ()  # names within the suite; none means all
    episodes: int = 50  # successful demonstrations of each task
    seed: int = 0
    workers: int = 1
    image_size: int = 224  # pixels
    cameras: tuple[str, ...] = ("agentview", "wrist")
    depth: bool = False
    rendering: str = "fast"
    robot: str = "panda"
    keep_failures: bool = False  # keep the attempts that failed on the way, besides the successes asked for
    noise: NoiseOptions | None = None
    variant: str = "demonstration"  # of the episode identity: scenes that no evaluation of the same seed meets

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.workers < 1:
            given = f"episodes={self.episodes}, workers={self.workers}"
            raise CollectOptionsError(f"{given}: expected at least 1 of each.")
        describe_robot(self.robot)  # an unknown one is told before any worker starts
        if not self.cameras:
            raise CollectOptionsError("No camera chosen. Expected at least one, such as agentview.")

    def chosen_tasks(self) -> tuple[Task, ...]:
        """Return the tasks to demonstrate, in the suite's order; raise `UnknownNameError` for an unknown one."""
        by_name = {task.name: task for task in tasks_of(self.suite)}
        wanted = {name.removeprefix(f"{self.suite}.") for name in self.tasks} or set(by_name)
        for name in sorted(wanted):
            if name not in by_name:
                raise UnknownNameError(f"task of the suite {self.suite}", name, by_name)
        return tuple(task for name, task in by_name.items() if name in wanted)

    def env_kwargs(self) -> dict[str, Any]:
        """Return the arguments of `vla_bench.make` besides the task."""
        return {
            "image_size": self.image_size,
            "cameras": self.cameras,
            "depth": self.depth,
            "rendering": self.rendering,
            "robot": self.robot,
        }

    def configuration(self) -> dict[str, Any]:
        """Return, as JSON values, everything that decides what a demonstration holds.

        How many there are and how many workers make them is not among it, so both may change between runs.
        """
        from vla_bench import __version__

        tasks = self.chosen_tasks()
        return {
            "suite": self.suite,
            "tasks": [task.name for task in tasks],
            "task definitions": hashlib.sha256(repr(tasks).encode()).hexdigest()[:12],
            "seed": self.seed,
            "variant": self.variant,
            "image_size": self.image_size,
            "cameras": list(self.cameras),
            "depth": self.depth,
            "rendering": self.rendering,
            "robot": self.robot,
            "keep_failures": self.keep_failures,
            "noise": None
            if self.noise is None
            else {**asdict(self.noise), "burst_steps": list(self.noise.burst_steps)},
            "vla_bench": __version__,
            "format_version": FORMAT_VERSION,
        }
