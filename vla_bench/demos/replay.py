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
    """How one demonstration went again."""

    name: str
    task_id: str
    recorded_success: bool
    success: bool
    steps: int  # recorded
    first_difference: int | None  # first step at which the state is not bit for bit the recorded one; None: never
    largest_difference: float  # of any number of the state, at any step
    gripper_distance_m: float  # largest distance of the end-effector from where it was recorded
    notes: tuple[str, ...] = ()

    @property
    def as_recorded(self) -> bool:
        """Whether it succeeded, if it did when it was recorded."""
        return self.success or not self.recorded_success

    @property
    def exact(self) -> bool:
        """Whether every state was bit for bit the recorded one."""
        return self.first_difference is None


@dataclass(frozen=True)
class ReplayReport:
    """How the demonstrations of a file went again."""

    path: Path
    results: tuple[ReplayResult, ...]  # in the order of the file

    @property
    def expected(self) -> int:
        """Demonstrations that succeeded when they were recorded."""
        return sum(row.recorded_success for row in self.results)

    @property
    def succeeded(self) -> int:
        """Of them, those that succeeded again."""
        return sum(row.recorded_success and row.success for row in self.results)

    @property
    def exact(self) -> int:
        """Demonstrations whose every state was bit for bit the recorded one."""
        return sum(row.exact for row in self.results)

    def notes_of_exact_replays(self) -> dict[str, int]:
        """Return what is to be said of demonstrations that went exactly as they did, and of how many."""
        return dict(Counter(note for row in self.results if row.exact for note in row.notes))

    @property
    def passed(self) -> bool:
        """Whether everything that succeeded still does."""
        return all(row.as_recorded for row in self.results)


OnReplayed = Callable[[int, int], None]  # done, of how many


def replay(
    path: Path | str,
    *,
    names: Sequence[str] | None = None,
    workers: int = 1,
    on_progress: OnReplayed = lambda done, total: None,
) -> ReplayReport:
    """Run the executed actions of demonstrations (default: all) again; images are neither read nor drawn.

    Raises `DemonstrationFileError` where the file, or a demonstration named, is not there.
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
    """Goes to the worker process, where it opens the file."""

    path: Path

    def __call__(self) -> Callable[[str], ReplayResult]:
        """Return what replays one demonstration by its name."""
        file = DemonstrationFile(self.path)
        kwargs = {**file.header.env_kwargs, "cameras": (), "depth": False, "segmentation": False}
        environments = Environments(**kwargs)
        return lambda name: _replay_one(file, environments, name)


@dataclass(frozen=True)
class _ReplayedStates:
    """What recorded actions led to; rows belong to the moments before each action, as in a demonstration."""

    success: bool
    states: NDArray[np.float64]  # (t, D); t is less than T where the episode ended early
    hand_world: NDArray[np.float64]  # (t, 3) [m]


def _replay_one(file: DemonstrationFile, environments: Environments, name: str) -> ReplayResult:
    demonstration = file.read(name, cameras=())
    summary = demonstration.summary()
    row = ReplayResult(name, summary.identity.task_id, summary.success, False, summary.steps, 0, np.inf, np.inf)
    try:
        env = environments.get(row.task_id)
        same_scene = restart_episode(env, summary, demonstration.states[0])
    except (StateRestorationError, UnknownNameError) as error:
        return replace(row, notes=(str(error),))
    notes = [] if same_scene else ["its seed leads to another scene today: begun at the stored state"]
    if not same_model(env.model_xml(), demonstration.model_xml):
        notes.append("the model is another one today")
    if summary.dropped_steps:
        notes.append(f"{summary.dropped_steps} steps were dropped: gone over by the stored states")
    run = _run(env, demonstration)
    steps = len(run.states)
    if steps < summary.steps:
        notes.append(f"ended after {steps} steps")
    differs = np.flatnonzero((run.states != demonstration.states[:steps]).any(axis=1))
    fields = [field.name for field in file.header.proprioception_fields]
    hand = next(name for name in fields if name.endswith("end_effector_position"))  # of two arms, the right one's
    recorded_hand = demonstration.proprioception[:steps, file.header.columns(hand)]
    first_difference = int(differs[0]) if len(differs) else None if steps == summary.steps else steps
    judged = summary.judged_by == "person"  # whose verdict no replay can give again: the same states must do
    return replace(
        row,
        success=summary.success and first_difference is None if judged else run.success,
        first_difference=first_difference,
        largest_difference=float(np.abs(run.states - demonstration.states[:steps]).max()),
        gripper_distance_m=float(np.linalg.norm(run.hand_world.astype(np.float32) - recorded_hand, axis=1).max()),
        notes=tuple(notes),
    )


def _run(env: "VlaBenchEnv", demonstration: Demonstration) -> _ReplayedStates:
    numbers = np.arange(demonstration.steps) if demonstration.step_numbers is None else demonstration.step_numbers
    states, hand, success = [], [], False
    for step, action in enumerate(demonstration.executed_actions):
        if step and numbers[step] != numbers[step - 1] + 1:
            env.set_state(demonstration.states[step])
        states.append(env.state())
        hand.append(env.simulation.world.end_effector_position_world().copy())
        _, terminated, truncated, info = env.advance(action)
        success = bool(info["success"])
        if terminated or truncated:
            break
    return _ReplayedStates(success, np.array(states), np.array(hand))
