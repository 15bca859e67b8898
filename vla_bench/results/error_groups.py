"""Errors of episodes, grouped by what they end with."""

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class ErrorGroup:
    """Errors of the harness that end in the same line."""

    line: str
    count: int
    example: str  # traceback
    episode: str = ""  # the example's


def error_groups(frame: pd.DataFrame) -> list[ErrorGroup]:
    """Return the errors grouped by the last line of their tracebacks, the most frequent first."""
    broken = frame[frame["outcome"] == "error"]
    lines = broken["error"].map(_last_line)
    groups = [ErrorGroup(str(line), len(part), *_example(part)) for line, part in broken.groupby(lines)]
    return sorted(groups, key=lambda group: (-group.count, group.line))


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else text


def _example(part: pd.DataFrame) -> tuple[str, str]:
    first = part.iloc[0]
    return str(first["error"]), f"{first['task']}/{first['variant']}/{first['seed']}/{first['episode_index']}"
