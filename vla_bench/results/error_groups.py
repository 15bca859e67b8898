"""Errors of episodes, grouped by what was raised."""

from dataclasses import dataclass

import pandas as pd

_TRACEBACK = "Traceback (most recent call last):\n"


@dataclass(frozen=True)
class ErrorGroup:
    """Errors of the harness that raised the same."""

    line: str
    count: int
    example: str  # traceback
    episode: str  # the example's


def error_groups(frame: pd.DataFrame) -> list[ErrorGroup]:
    """Return the errors grouped by what was raised, the most frequent first."""
    broken = frame[frame["outcome"] == "error"]
    lines = broken["error"].map(error_line)
    groups = [ErrorGroup(str(line), len(part), *_example(part)) for line, part in broken.groupby(lines)]
    return sorted(groups, key=lambda group: (-group.count, group.line))


def error_line(text: str) -> str:
    """Return the line of an error's text that names the exception: its last, unless the message has several.

    A traceback's own lines are indented, so it is the first one that is not.
    """
    lines = text.rpartition(_TRACEBACK)[2].strip("\n").splitlines()
    if not lines:
        return text
    raised = (line for line in lines if _TRACEBACK in text and not line.startswith(" "))
    return next(raised, lines[-1]).strip()


def _example(part: pd.DataFrame) -> tuple[str, str]:
    first = part.iloc[0]
    return str(first["error"]), f"{first['task']}/{first['variant']}/{first['seed']}/{first['episode_index']}"
