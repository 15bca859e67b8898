"""Replay of recorded actions and comparison with the recorded outcome."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.errors import UnknownNameError
from vla_bench.core.worker_pool import run_jobs
from vla_bench.demos.demonstration import Demonstration
from vla_bench.demos.restoring import Environments, StateRestorationError, restart_episode, same_model
from vla_bench.demos.store import DemonstrationFile

if TYPE_CHECKING:
    from vla_bench.envs.environment import VlaBenchEnv


@dataclass(frozen=True)
class ReplayResult:
    """Result of replaying one demonstration."""

    name: str
    task_id: str
    recorded_success: bool
    success: bool
    steps: int  # of the recording
    first_difference: int | None  # first step at which the state differs in a bit from the recorded one; None: never
    largest_difference: float  # of any state variable at any step
    gripper_distance_m: float  # largest distance of the end-effector from its recorded position
    notes: tuple[str, ...] = ()

    @property
    def as_recorded(self) -> bool:
        """True if the replay succeeded or the recording failed."""
        return self.success or not self.recorded_success

    @property
    def exact(self) -> bool:
        """True if every state equaled the recorded one bit for bit."""
        return self.first_difference is None


@dataclass(frozen=True)
class ReplayReport:
    """Result of replaying the demonstrations of a file."""

    path: Path
    results: tuple[ReplayResult, ...]  # in file order

    @property
    def expected(self) -> int:
        """Number of demonstrations whose recording succeeded."""
        return sum(row.recorded_success for row in self.results)

    @property
    def succeeded(self) -> int:
        """Number of demonstrations that succeeded in recording and replay."""
        return sum(row.recorded_success and row.success for row in self.results)

    @property
    def exact(self) -> int:
        """Number of demonstrations whose states all equaled the recorded ones bit for bit."""
        return sum(row.exact for row in self.results)

    def notes_of_exact_replays(self) -> dict[str, int]:
        """Return each note on exact replays, with the number of demonstrations that have it."""
        return dict(Counter(note for row in self.results if row.exact for note in row.notes))

    @property
    def passed(self) -> bool:
        """True if every demonstration that succeeded in recording succeeded in replay."""
        return all(row.as_recorded for row in self.results)


OnReplayed = Callable[[int, int], None]  # done, total


def replay(
    path: Path | str,
    *,
    names: Sequence[str] | None = None,
    workers: int = 1,
    on_progress: OnReplayed = lambda done, total: None,
) -> ReplayReport:
    """Execute the recorded actions of demonstrations (default: all) again, without reading or rendering images.

    Raises `DemonstrationFileError` where the file or a named demonstration does not exist.
    """
    with DemonstrationFile(path) as file:
        chosen = list(file.names if names is None else names)
        jobs = [(file.summary(name).identity.task_id, name) for name in chosen]
    rows: dict[str, ReplayResult] = {}
    on_progress(0, len(jobs))
    for name, row in run_jobs(jobs, workers, ReplayFactory(Path(path))):
        rows[name] = row
        on_progress(len(rows), len(jobs))
    return ReplayReport(Path(path), tuple(rows[name] for name in chosen))


@dataclass(frozen=True)
class ReplayFactory:
    """Factory of a worker's replay function; it is pickled to the worker process, which opens the file."""

    path: Path

    def __call__(self) -> Callable[[str], ReplayResult]:
        """Return the function that replays one demonstration by its name."""
        file = DemonstrationFile(self.path)
        kwargs = {**file.header.env_kwargs, "cameras": (), "depth": False, "segmentation": False}
        environments = Environments(**kwargs)
        return lambda name: _replay_one(file, environments, name)


@dataclass(frozen=True)
class _ReplayedStates:
    """States reached by recorded actions, each before its action, as in a demonstration."""

    success: bool
    states: NDArray[np.float64]  # (t, D); t < T where the episode ended early
    position_world: NDArray[np.float64]  # (t, 3), of the end-effector [m]


def _replay_one(file: DemonstrationFile, environments: Environments, name: str) -> ReplayResult:
    demonstration = file.read(name, cameras=())
    summary = demonstration.summary()
    row = ReplayResult(name, summary.identity.task_id, summary.success, False, summary.steps, 0, np.inf, np.inf)
    try:
        env = environments.get(row.task_id)
        same_scene = restart_episode(env, summary, demonstration.states[0])
    except (StateRestorationError, UnknownNameError) as error:
        return replace(row, notes=(str(error),))
    notes = []
    if not same_scene:
        notes.append("the seed leads to another scene in this version; replay started from the stored state")
    if not same_model(env.model_xml(), demonstration.model_xml):
        notes.append("the model differs in this version")
    if summary.dropped_steps:
        notes.append(f"{summary.dropped_steps} dropped steps were skipped by restoring the stored states")
    run = _run(env, demonstration)
    steps = len(run.states)
    if steps < summary.steps:
        notes.append(f"ended after {steps} steps")
    differs = np.flatnonzero((run.states != demonstration.states[:steps]).any(axis=1))
    fields = [field.name for field in file.header.proprioception_fields]
    position_field = next(name for name in fields if name.endswith("end_effector_position"))  # the right arm's, of two
    recorded_position = demonstration.proprioception[:steps, file.header.columns(position_field)]
    first_difference = int(differs[0]) if len(differs) else None if steps == summary.steps else steps
    judged = summary.judged_by == "person"  # a replay cannot repeat this verdict, so equal states are required
    offset = run.position_world.astype(np.float32) - recorded_position
    return replace(
        row,
        success=summary.success and first_difference is None if judged else run.success,
        first_difference=first_difference,
        largest_difference=float(np.abs(run.states - demonstration.states[:steps]).max()),
        gripper_distance_m=float(np.linalg.norm(offset, axis=1).max()),
        notes=tuple(notes),
    )


def _run(env: "VlaBenchEnv", demonstration: Demonstration) -> _ReplayedStates:
    numbers = np.arange(demonstration.steps) if demonstration.step_numbers is None else demonstration.step_numbers
    states, positions, success = [], [], False
    for step, action in enumerate(demonstration.executed_actions):
        if step and numbers[step] != numbers[step - 1] + 1:
            env.set_state(demonstration.states[step])
        states.append(env.state())
        positions.append(env.simulation.world.end_effector_position_world().copy())
        _, terminated, truncated, info = env.advance(action)
        success = bool(info["success"])
        if terminated or truncated:
            break
    return _ReplayedStates(success, np.array(states), np.array(positions))
