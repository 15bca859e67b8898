"""What a source of any format holds, at a glance."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vla_bench.demos.sources import DemonstrationSource, EpisodeFacts
from vla_bench.demos.summary import action_names, action_quantiles, columns, not_finite_lines

_UNSAID = "(nothing says it)"


def source_lines(source: DemonstrationSource) -> list[str]:
    """Return a summary as text, a line each. Actions are shown as they are stored; images are not read."""
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
        f"actions         {facts.control_hz} Hz, gripper {facts.gripper or _UNSAID}",
        "",
        *columns(["task", "demos", "success", "steps min/median/max", "instruction"], _task_rows(source.episodes)),
        "",
        *columns(["action", "min", "1 %", "median", "99 %", "max"], _action_rows(list(actions.values()))),
        *not_finite_lines(actions.items()),
    ]


def _task_rows(episodes: Sequence[EpisodeFacts]) -> list[list[str]]:
    rows = []
    for task_id in dict.fromkeys(episode.task_id for episode in episodes):
        of_task = [episode for episode in episodes if episode.task_id == task_id]
        lengths = [episode.steps for episode in of_task]
        known = [episode.success for episode in of_task if episode.success is not None]
        success = f"{np.mean(known):.0%}" if known else ""
        span = f"{min(lengths)}/{np.median(lengths):.0f}/{max(lengths)}"
        rows.append([task_id, str(len(of_task)), success, span, of_task[0].instruction or _UNSAID])
    return rows


def _action_rows(actions: Sequence[NDArray[np.float32]]) -> list[list[str]]:
    if not actions:
        return []
    every = np.concatenate(actions)
    quantiles = action_quantiles(every)  # (5, D)
    return [
        [name, *(f"{value:+.2f}" for value in quantiles[:, n])] for n, name in enumerate(action_names(every.shape[1]))
    ]
