"""The table of tasks, one row a task and robot: how often experts succeed, in how many steps, and at what speed."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from vla_bench.core.errors import ConfigurationError
from vla_bench.core.paths import written_whole


@dataclass(frozen=True)
class TaskRow:
    """What was measured of one task with one robot."""

    task: str  # id
    robot: str
    episodes: int
    successes: int
    failed_episodes: tuple[int, ...]  # by index
    mean_steps: float | None  # of successful episodes
    longest_steps: int | None  # of successful episodes
    horizon: int
    begin_alike: int  # tasks of the suite, this one included
    blind_episodes: int
    blind_successes: int
    demonstrations_per_minute: float | None
    fingerprint: str  # of what the success depends on
    date: str  # of the last episode

    @property
    def chance(self) -> float:
        """How often a policy is right that knows the tasks which begin alike and cannot read."""
        return 1.0 / self.begin_alike


def read_rows(path: Path) -> dict[tuple[str, str], TaskRow]:
    """Return the rows of a table by task and robot, none where there is no file.

    Raise `ConfigurationError` for a file that is no such table.
    """
    if not path.is_file():
        return {}
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    try:
        rows = [_row(cells) for cells in csv.DictReader(lines)]
    except (KeyError, ValueError) as error:
        raise ConfigurationError(path, "(whole file)", f"is not a table of tasks: {error!r}") from None
    return {(row.task, row.robot): row for row in rows}


def write_rows(path: Path, rows: Sequence[TaskRow], facts: Mapping[str, str]) -> None:
    """Write a table as CSV, under comment lines with `facts` such as the command and the hardware."""
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {name}: {fact}\n" for name, fact in facts.items())
        writer = csv.DictWriter(file, [field.name for field in fields(TaskRow)], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in asdict(row).items()} for row in rows)


def _cell(value: object) -> object:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return "" if value is None else value


def _row(cells: Mapping[str, str]) -> TaskRow:
    return TaskRow(
        task=cells["task"],
        robot=cells["robot"],
        episodes=int(cells["episodes"]),
        successes=int(cells["successes"]),
        failed_episodes=tuple(map(int, cells["failed_episodes"].split())),
        mean_steps=float(cells["mean_steps"]) if cells["mean_steps"] else None,
        longest_steps=int(cells["longest_steps"]) if cells["longest_steps"] else None,
        horizon=int(cells["horizon"]),
        begin_alike=int(cells["begin_alike"]),
        blind_episodes=int(cells["blind_episodes"]),
        blind_successes=int(cells["blind_successes"]),
        demonstrations_per_minute=float(cells["demonstrations_per_minute"])
        if cells["demonstrations_per_minute"]
        else None,
        fingerprint=cells["fingerprint"],
        date=cells["date"],
    )
