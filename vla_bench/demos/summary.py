"""Summaries of demonstration files and sources."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.types import ACTION_DIM
from vla_bench.demos.demonstration import Demonstration
from vla_bench.demos.formats.native import NativeSource
from vla_bench.demos.header import FileHeader
from vla_bench.demos.sources import DemonstrationSource, EpisodeFacts
from vla_bench.demos.store import DemonstrationFile

_NOT_STATED = "(not stated)"
ACTION_NAMES = ("delta x", "delta y", "delta z", "rotation x", "rotation y", "rotation z", "gripper")


@dataclass(frozen=True)
class TaskSummary:
    """The demonstrations of one task."""

    task_id: str
    instruction: str
    demonstrations: int
    successes: int
    shortest: int  # steps
    median: float
    longest: int
    expert: tuple[int, int] | None  # successes and attempts; None where unknown


@dataclass(frozen=True)
class ActionSummary:
    """Distribution of the recorded actions in one dimension."""

    name: str
    lowest: float
    q01: float
    median: float
    q99: float
    highest: float


@dataclass(frozen=True)
class Summary:
    """Contents of a demonstration file."""

    path: Path
    header: FileHeader
    tasks: tuple[TaskSummary, ...]
    actions: tuple[ActionSummary, ...]
    phases: dict[str, int]  # phase -> steps in it
    subsets: dict[str, int]  # subset -> demonstrations in it
    disturbed: float  # fraction of the steps with noise or a slip
    slips: int  # number of injected slips
    labels: dict[str, int]  # label -> steps with it
    stored_bytes: dict[str, int]  # kind of array -> bytes on disk
    file_bytes: int
    non_finite: tuple[str, ...] = ()  # lines about demonstrations with non-finite actions

    @property
    def demonstrations(self) -> int:
        """Number of demonstrations in the file."""
        return sum(task.demonstrations for task in self.tasks)

    @property
    def steps(self) -> int:
        """Number of steps in the file."""
        return sum(self.phases.values())

    def lines(self) -> list[str]:
        """Return the summary as lines of text."""
        header = self.header
        fields = ", ".join(f"{field.name} ({field.size})" for field in header.proprioception_fields)
        depth = " with depth" if header.depth else ""
        return [
            f"{self.path}: {self.demonstrations} demonstrations, {self.steps:,} steps, {_format_size(self.file_bytes)}",
            f"cameras         {', '.join(header.cameras)}, {header.image_size} x {header.image_size} pixels{depth}",
            f"proprioception  {fields}",
            f"actions         {header.action_convention}, {header.control_hz} Hz",
            f"robot           {header.robot}",
            f"made by         {header.env_args.get('env_name')} {header.env_args.get('env_version')}",
            "",
            *format_columns(
                ["task", "demos", "success", "expert", "steps min/median/max", "instruction"], self._task_rows()
            ),
            "",
            *format_columns(["action", "min", "1 %", "median", "99 %", "max"], self._action_rows()),
            "",
            f"disturbed       {self.disturbed:.0%} of the steps{self._format_slips()}",
            f"phases          {_format_fractions(self.phases)}",
            f"subsets         {', '.join(f'{name} {count}' for name, count in self.subsets.items())}",
            f"on disk         {', '.join(f'{name} {_format_size(size)}' for name, size in self._largest())}",
            *self.non_finite,
        ]

    def _format_slips(self) -> str:
        return f"; {self.slips} slips: {_format_fractions(self.labels)}" if self.slips else ""

    def _task_rows(self) -> list[list[str]]:
        return [
            [
                task.task_id,
                str(task.demonstrations),
                f"{task.successes / task.demonstrations:.0%}",
                "" if task.expert is None else f"{task.expert[0]}/{task.expert[1]}",
                f"{task.shortest}/{task.median:.0f}/{task.longest}",
                task.instruction,
            ]
            for task in self.tasks
        ]

    def _action_rows(self) -> list[list[str]]:
        return [
            [row.name, *(f"{value:+.2f}" for value in (row.lowest, row.q01, row.median, row.q99, row.highest))]
            for row in self.actions
        ]

    def _largest(self) -> list[tuple[str, int]]:
        return sorted(self.stored_bytes.items(), key=lambda item: -item[1])[:4]


def summarize(path: Path | str) -> Summary:
    """Return the contents of a demonstration file; images are not read."""
    with DemonstrationFile(path) as file:
        return summarize_file(file)


def summarize_file(file: DemonstrationFile) -> Summary:
    """Return the contents of an open demonstration file; images are not read."""
    demonstrations = [file.read(name, cameras=()) for name in file.names]
    return Summary(
        path=file.path,
        header=file.header,
        tasks=_tasks(demonstrations, file.header),
        actions=_actions(demonstrations),
        phases=dict(Counter(phase for demonstration in demonstrations for phase in demonstration.phases)),
        subsets={name: len(file.mask(name)) for name in file.masks() if "." not in name},
        disturbed=_disturbed_fraction(demonstrations),
        slips=sum(demonstration.summary().slips for demonstration in demonstrations),
        labels=dict(Counter(label for demonstration in demonstrations for label in demonstration.labels)),
        stored_bytes=file.stored_bytes(),
        file_bytes=file.path.stat().st_size,
        non_finite=tuple(non_finite_lines(zip(file.names, (one.actions for one in demonstrations), strict=True))),
    )


def action_quantiles(actions: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return minimum, 1 %, median, 99 % and maximum of actions (T, D), as (5, D), over the finite steps."""
    finite = actions[np.isfinite(actions).all(axis=1)]
    if not len(finite):
        return np.full((5, actions.shape[1]), np.nan)
    quantiles: NDArray[np.float64] = np.quantile(finite, [0, 0.01, 0.5, 0.99, 1], axis=0)
    return quantiles


def non_finite_lines(names_and_actions: Iterable[tuple[str, NDArray[np.float32]]]) -> list[str]:
    """Return a line for each demonstration with non-finite actions, which training refuses."""
    lines = []
    for name, actions in names_and_actions:
        steps = np.flatnonzero(~np.isfinite(actions).all(axis=1))
        if len(steps):
            lines.append(f"NON-FINITE      {name}: {len(steps)} actions, the first at step {steps[0]}")
    return lines


def action_names(size: int) -> list[str]:
    """Return the names of the action dimensions; of two arms, the right one comes first."""
    if size == 2 * ACTION_DIM:
        return [f"{side} {name}" for side in ("right", "left") for name in ACTION_NAMES]
    return list(ACTION_NAMES) if size == ACTION_DIM else [str(number) for number in range(size)]


def format_columns(titles: list[str], rows: list[list[str]]) -> list[str]:
    """Return a table as lines of text, with numbers aligned to the right."""
    table = [titles, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(titles))]
    texts = {0, len(titles) - 1} if rows and not _is_number(rows[0][-1]) else {0}
    return [
        "  ".join(
            cell.ljust(width) if column in texts else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def source_lines(source: DemonstrationSource) -> list[str]:
    """Return the contents of a source of any format as lines of text; images are not read.

    For other formats than ours, the actions are those stored, before conversion.
    """
    if isinstance(source, NativeSource):
        return summarize_file(source.file).lines()
    facts = source.facts
    actions = {episode.name: source.stored_actions(episode.name) for episode in source.episodes}
    steps = sum(episode.steps for episode in source.episodes)
    cameras = ", ".join(ours if ours == key else f"{ours} ({key})" for ours, key in facts.cameras.items())
    fields = ", ".join(f"{field.name} ({field.size})" for field in facts.proprioception_fields)
    height, width = facts.image_size
    return [
        f"{source.path}: format {facts.format}, {len(source.episodes)} demonstrations, {steps:,} steps",
        f"cameras         {cameras}, {height} x {width} pixels, stored {facts.orientation}",
        f"proprioception  {fields or 'none'}",
        f"actions         {facts.control_hz} Hz, gripper {facts.gripper or _NOT_STATED}",
        "",
        *format_columns(
            ["task", "demos", "success", "steps min/median/max", "instruction"], _task_rows(source.episodes)
        ),
        "",
        *format_columns(["action", "min", "1 %", "median", "99 %", "max"], _action_rows(list(actions.values()))),
        *non_finite_lines(actions.items()),
    ]


def _tasks(demonstrations: Sequence[Demonstration], header: FileHeader) -> tuple[TaskSummary, ...]:
    rows = []
    for task_id in dict.fromkeys(demonstration.identity.task_id for demonstration in demonstrations):
        of_task = [demonstration for demonstration in demonstrations if demonstration.identity.task_id == task_id]
        lengths = [demonstration.steps for demonstration in of_task]
        successes = sum(demonstration.success for demonstration in of_task)
        rows.append(
            TaskSummary(
                task_id=task_id,
                instruction=of_task[0].instruction,
                demonstrations=len(of_task),
                successes=successes,
                shortest=min(lengths),
                median=float(np.median(lengths)),
                longest=max(lengths),
                expert=_expert(header, task_id, successes),
            )
        )
    return tuple(rows)


def _expert(header: FileHeader, task_id: str, successes: int) -> tuple[int, int] | None:
    """Return the expert's successes and attempts; None for a file that was filtered or split afterwards."""
    collection = header.collection
    if "failed" not in collection or "filtered" in collection or "split" in collection:
        return None
    dropped = sum(one[0] == task_id for one in collection.get("dropped", ()))  # by filters during the collection
    made = successes + dropped
    return made, made + len(collection["failed"].get(task_id, ()))


def _actions(demonstrations: Sequence[Demonstration]) -> tuple[ActionSummary, ...]:
    if not demonstrations:
        return ()
    actions = np.concatenate([demonstration.actions for demonstration in demonstrations])  # (steps, 7 for each arm)
    quantiles = action_quantiles(actions)
    names = action_names(actions.shape[1])
    return tuple(ActionSummary(name, *map(float, quantiles[:, i])) for i, name in enumerate(names))


def _disturbed_fraction(demonstrations: Sequence[Demonstration]) -> float:
    steps = sum(demonstration.steps for demonstration in demonstrations)
    moved = sum(int((one.actions != one.executed_actions).any(axis=1).sum()) for one in demonstrations)
    return moved / steps if steps else 0.0


def _format_fractions(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    return ", ".join(f"{name} {count / total:.0%}" for name, count in counts.items())


def _format_size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.2f} GB"


def _is_number(text: str) -> bool:
    return text.lstrip("+-").replace(".", "").isdigit()


def _task_rows(episodes: Sequence[EpisodeFacts]) -> list[list[str]]:
    rows = []
    for task_id in dict.fromkeys(episode.task_id for episode in episodes):
        of_task = [episode for episode in episodes if episode.task_id == task_id]
        lengths = [episode.steps for episode in of_task]
        known = [episode.success for episode in of_task if episode.success is not None]
        success = f"{np.mean(known):.0%}" if known else ""
        span = f"{min(lengths)}/{np.median(lengths):.0f}/{max(lengths)}"
        rows.append([task_id, str(len(of_task)), success, span, of_task[0].instruction or _NOT_STATED])
    return rows


def _action_rows(actions: Sequence[NDArray[np.float32]]) -> list[list[str]]:
    if not actions:
        return []
    every = np.concatenate(actions)
    quantiles = action_quantiles(every)  # (5, D)
    return [
        [name, *(f"{value:+.2f}" for value in quantiles[:, n])] for n, name in enumerate(action_names(every.shape[1]))
    ]
