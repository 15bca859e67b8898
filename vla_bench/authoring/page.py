"""The page that shows every task, made from the registry and the table of what was measured."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vla_bench.authoring.table import TaskRow
from vla_bench.results.statistics import wilson
from vla_bench.tasks import Task, suite_path, tasks_of
from vla_bench.tasks.schema import read_suite_file
from vla_bench.tasks.starts import sharing_start

PICTURES = Path("images") / "tasks"  # beside the page
_HEAD = """\
# Tasks

Made from the task files and `results/tasks.csv` by `vla-bench docs tasks`; a test holds it to them.
A control step is 50 ms. *Begins like* counts the tasks of the suite that start from the same scene, objects and
relations, this one included: only the instruction tells them apart. *Blind* is the success of an expert that solves one
of those at random, because it cannot read. Pictures show a start and the same episode when the expert has succeeded.
"""


def tasks_page(suites: Sequence[str], rows: Mapping[tuple[str, str], TaskRow]) -> str:
    """Return the page of these suites as Markdown; `rows` as `read_rows` gives them, by task and robot."""
    lines = [_HEAD, "| suite | tasks | engine | what |", "|---|--:|---|---|"]
    for suite in suites:
        what, engine = read_suite_file(suite_path(suite)).description, tasks_of(suite)[0].engine
        lines.append(f"| [{suite}](#{suite}) | {len(tasks_of(suite))} | {engine} | {what} |")
    for suite in suites:
        lines += ["", f"## {suite}", "", _sentence(read_suite_file(suite_path(suite)).description)]
        for task in tasks_of(suite):
            lines += ["", *_section(task, [row for (name, _), row in rows.items() if name == task.id])]
    return "\n".join(lines) + "\n"


def picture_name(task: Task) -> str:
    """Return the file name of a task's picture."""
    return f"{task.id}.jpg"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _section(task: Task, rows: Sequence[TaskRow]) -> Iterator[str]:
    yield f"### {task.id}"
    yield ""
    yield f"![{task.instruction}]({(PICTURES / picture_name(task)).as_posix()})"
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
        "Begins like": f"{alike} task{'s' if alike > 1 else ''}",
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
        parts.append(f"{row.demonstrations_per_minute:.0f} demonstrations a minute")
    return "; ".join(parts)
