"""The documentation page of tasks and its table of measurements."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from vla_bench.core.errors import ConfigurationError
from vla_bench.core.files import written_whole
from vla_bench.results.statistics import wilson
from vla_bench.tasks import Task, suite_path, tasks_of
from vla_bench.tasks.catalogue import read_suite_file, sharing_start


@dataclass(frozen=True)
class TaskRow:
    """Measurements of one task with one robot."""

    task: str  # id
    robot: str
    episodes: int
    successes: int
    failed_episodes: tuple[int, ...]  # episode indices
    mean_steps: float | None  # of successful episodes
    longest_steps: int | None  # of successful episodes
    horizon: int
    begin_alike: int  # tasks of the suite, this one included
    blind_episodes: int
    blind_successes: int
    demonstrations_per_minute: float | None
    fingerprint: str  # fingerprint of the code and data
    date: str  # day of the last episode

    @property
    def chance(self) -> float:
        """The chance of success of a policy that knows the tasks with the same start scenes but not the instruction."""
        return 1.0 / self.begin_alike


def read_rows(path: Path) -> dict[tuple[str, str], TaskRow]:
    """Return the rows of a table by task and robot, none if the file does not exist.

    Raise `ConfigurationError` for a file that is not such a table.
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
    """Write a table as CSV, with `facts` such as command and hardware as comment lines above."""
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


IMAGES_FOLDER = Path("images") / "tasks"  # folder next to the page
_HEAD = """\
# Tasks

Generated from the task files and `results/tasks.csv` by `vla-bench docs tasks`; a test compares the page with them.
A control step is 50 ms. *Same start* counts the tasks of the suite with the same scene, objects and initial relations,
including this one: they differ only in the instruction. *Blind* is the success rate of an expert that does not know the
instruction and solves a random one of them. Images show a start state and the same episode after the expert's success.
"""


def tasks_page(suites: Sequence[str], rows: Mapping[tuple[str, str], TaskRow]) -> str:
    """Return the page of these suites as Markdown; `rows` are those of `read_rows`, by task and robot."""
    lines = [_HEAD, "| suite | tasks | engine | description |", "|---|--:|---|---|"]
    for suite in suites:
        what, engine = read_suite_file(suite_path(suite)).description, tasks_of(suite)[0].engine
        lines.append(f"| [{suite}](#{suite}) | {len(tasks_of(suite))} | {engine} | {what} |")
    for suite in suites:
        lines += ["", f"## {suite}", "", _sentence(read_suite_file(suite_path(suite)).description)]
        for task in tasks_of(suite):
            lines += ["", *_section(task, [row for (name, _), row in rows.items() if name == task.id])]
    return "\n".join(lines) + "\n"


def image_name(task: Task) -> str:
    """Return the file name of the image of a task."""
    return f"{task.id}.jpg"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _section(task: Task, rows: Sequence[TaskRow]) -> Iterator[str]:
    yield f"### {task.id}"
    yield ""
    yield f"![{task.instruction}]({(IMAGES_FOLDER / image_name(task)).as_posix()})"
    yield ""
    yield f"**“{task.instruction}”**"
    yield ""
    yield from (f"- {name}: {text}" for name, text in _facts(task).items() if text)
    for row in rows:
        yield f"- {row.robot}: {_measured(row)}"
    yield f"- Paraphrases: {'; '.join(f'“{text}”' for text in task.paraphrases) or 'none'}"


def _facts(task: Task) -> dict[str, str]:
    held = f", held for {task.success_steps} steps" if task.success_steps > 1 else ""
    alike = len(sharing_start(task, tasks_of(task.suite)))
    return {
        "Goal": " and ".join(f"`{goal}`" for goal in task.goal) + held,
        "Must not": " or ".join(f"`{goal}`" for goal in task.must_not),
        "Objects": ", ".join(task.objects),
        "Start": ", ".join(f"`{relation}`" for relation in task.initial),
        "Horizon": f"{task.horizon} steps",
        "Same start": f"{alike} task{'s' if alike > 1 else ''}",
    }


def _measured(row: TaskRow) -> str:
    share = wilson(row.successes, row.episodes)
    parts = [
        f"expert {100 * share.rate:.1f} % of {row.episodes} (interval {100 * share.low:.1f} to {100 * share.high:.1f})"
    ]
    if row.mean_steps is not None:
        parts.append(f"{row.mean_steps:.0f} steps on average, {row.longest_steps} at most")
    if row.blind_episodes and row.begin_alike > 1:
        parts.append(f"blind {100 * row.blind_successes / row.blind_episodes:.1f} %, chance {100 * row.chance:.1f} %")
    if row.demonstrations_per_minute is not None:
        parts.append(f"{row.demonstrations_per_minute:.0f} demonstrations per minute")
    return "; ".join(parts)
