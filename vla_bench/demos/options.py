"""Options of demonstration collection."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from vla_bench.core.env_options import EnvOptions
from vla_bench.core.errors import UnknownNameError, VlaBenchError
from vla_bench.demos.devices import DeviceSpec
from vla_bench.demos.disturbances import NoiseOptions, SlipOptions
from vla_bench.demos.filters import FilterOptions
from vla_bench.demos.header import FORMAT_VERSION
from vla_bench.envs.descriptions import describe_robot
from vla_bench.envs.perturbations import Perturbation
from vla_bench.tasks import Task, get_task, task_ids, tasks_of


class CollectOptionsError(VlaBenchError):
    """Collection options that are invalid or contradict each other."""


@dataclass(frozen=True)
class CollectOptions(EnvOptions):
    """Options of a collection: tasks, episodes, observations, disturbances, filters and output."""

    suites: Annotated[tuple[str, ...], Field(description="Suite; repeat for several, or `all`.")]
    output: Annotated[Path, Field(description="File to write; an interrupted recording is resumed.")]
    tasks: Annotated[
        tuple[str, ...],
        Field(description="Task, or suite.task; repeat for several. [default: all tasks of the suites]"),
    ] = ()
    episodes: Annotated[int, Field(ge=1, description="Successful episodes of each task.")] = 50  # see `counted`
    seed: Annotated[int, Field(ge=0, description="Base seed; it and the episode index determine the scene.")] = 0
    workers: Annotated[int, Field(ge=1, description="Worker processes.")] = 1
    keep_failures: Annotated[
        bool, Field(description="Store failed attempts in addition to the requested successes.")
    ] = False
    noise: NoiseOptions | None = None
    slips: SlipOptions | None = None
    filters: FilterOptions = field(default_factory=FilterOptions)
    counted: Annotated[
        Literal["successes", "episodes"],
        Field(description="Attempts that --episodes counts; these are stored."),
    ] = "successes"
    indices: Mapping[str, tuple[int, ...]] | None = None  # task -> episode indices to record; None: all
    device: DeviceSpec = field(default_factory=DeviceSpec)
    variant: str = "demonstration"  # of the episode identity; differs from the variants of evaluations

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.workers < 1:
            given = f"episodes={self.episodes}, workers={self.workers}"
            raise CollectOptionsError(f"{given}: expected at least 1 for both.")
        describe_robot(self.robot)  # report unknown names before any worker starts
        Perturbation.parse(self.perturb or "")
        super().__post_init__()
        if not self.cameras:
            raise CollectOptionsError("No camera was chosen. Expected at least one, such as agentview.")

    @property
    def stores_failures(self) -> bool:
        """True if failed attempts are stored, too."""
        return self.keep_failures or self.counted == "episodes"

    def chosen_tasks(self) -> tuple[Task, ...]:
        """Return the tasks to demonstrate, suite by suite; raise `UnknownNameError` for an unknown one."""
        of_suites = {task.id: task for suite in self.suites for task in tasks_of(suite)}
        named = [self._task_id(name, of_suites) for name in self.tasks]
        wanted = set(named or of_suites)
        elsewhere = [get_task(task_id) for task_id in dict.fromkeys(named) if task_id not in of_suites]
        chosen = (*(task for task in of_suites.values() if task.id in wanted), *elsewhere)
        if not chosen:
            raise CollectOptionsError("No task was chosen. Expected a suite (--suite) or a task (--task).")
        return chosen

    def by_suite(self) -> "tuple[CollectOptions, ...]":
        """Return options for one file of each suite, `output/suite.hdf5`: robots with different arm counts need it."""
        by_suite: dict[str, list[str]] = {}
        for task in self.chosen_tasks():
            by_suite.setdefault(task.suite, []).append(task.id)
        return tuple(
            replace(self, suites=(), tasks=tuple(ids), output=self.output / f"{suite}.hdf5")
            for suite, ids in by_suite.items()
        )

    def _task_id(self, name: str, of_suites: Mapping[str, Task]) -> str:
        """Return the id of a task that may be named without its suite."""
        if "." in name:
            return get_task(name).id
        found = [task.id for task in of_suites.values() if task.name == name]
        if len(found) > 1:
            raise CollectOptionsError(
                f"--task {name} is ambiguous: {' or '.join(found)}. Give the name with its suite."
            )
        if found:
            return found[0]
        if not self.suites:
            known = [task_id for task_id in task_ids() if task_id.endswith(f".{name}")]
            hint = f"such as {' or '.join(known)}" if known else "as printed by `vla-bench list tasks`"
            raise CollectOptionsError(f"--task {name} needs the name of its suite, {hint}.")
        suites = f"suite{'s' * (len(self.suites) > 1)} {', '.join(self.suites)}"
        raise UnknownNameError(f"task of the {suites}", name, (task.name for task in of_suites.values()))

    def configuration(self) -> dict[str, Any]:
        """Return, as JSON values, everything that determines the content of a demonstration.

        The numbers of episodes and workers do not, so that they may change between runs.
        """
        from vla_bench import __version__

        tasks = self.chosen_tasks()
        environment = {**self.env_kwargs(), "cameras": list(self.cameras)}
        if self.wait_steps is None:
            del environment["wait_steps"]  # files from before this option must stay resumable
        return {
            "tasks": [task.id for task in tasks],
            "task definitions": hashlib.sha256(repr(tasks).encode()).hexdigest()[:12],
            "seed": self.seed,
            "variant": self.variant,
            **environment,
            "keep_failures": self.keep_failures,
            "noise": _as_json(self.noise),
            "slips": _as_json(self.slips),
            "filters": self.filters.configuration(),
            "counted": self.counted,
            "device": self.device.configuration(),
            "vla_bench": __version__,
            "format_version": FORMAT_VERSION,
        }


def _as_json(options: NoiseOptions | SlipOptions | None) -> dict[str, Any] | None:
    if options is None:
        return None
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(options).items()}
