"""`vla-bench check`: what is wrong with a task file, before anybody runs it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from vla_bench.cli.options import Robot
from vla_bench.cli.progress import progress_shown
from vla_bench.cli.tables import print_table

if TYPE_CHECKING:
    from vla_bench.authoring import CheckReport
    from vla_bench.authoring.check import TaskReport

_FOUND_ERRORS = 2  # exit status
_STYLES = {"error": "red", "warning": "yellow"}


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("check")(check)


def check(
    suites: Annotated[list[str], typer.Argument(help="Task files, or names of suites.")],
    seeds: Annotated[int, typer.Option(min=1, help="Scenes of each task to begin and to try the expert in.")] = 10,
    robot: Robot = "panda",
    expert: Annotated[bool, typer.Option("--expert/--no-expert", help="Whether to try the expert.")] = True,
) -> None:
    """Check task files without running a policy: the text, the worlds, the starts, and whether the expert solves them.

    All mistakes are told, each with file and field. The exit status is 2 if there are errors, 0 if there are none or
    warnings alone. To use a file that lies elsewhere, name it in `VLA_BENCH_TASKS` or by `vla-bench --tasks`.

    Example: `vla-bench check my_tasks.toml`
    """
    from vla_bench.authoring import CheckOptions, check_suite

    failed = False
    for suite in suites:
        with progress_shown(f"checking {Path(suite).name}") as update:
            report = check_suite(suite, CheckOptions(seeds, expert, robot), update)
        print_check(report)
        failed |= bool(report.errors)
    if failed:
        raise typer.Exit(_FOUND_ERRORS)


def print_check(report: "CheckReport") -> None:
    """Print the table of tasks, then the findings, errors first."""
    if report.tasks:
        header = ("task", "expert", "mean steps", "horizon", "begin alike", "chance without language")
        print_table(header, [_row(task) for task in report.tasks], title=str(report.path), words=1)
    console = Console(stderr=True)
    for problem in sorted(report.problems, key=lambda problem: problem.severity):
        console.print(str(problem), style=_STYLES[problem.severity], highlight=False, markup=False, soft_wrap=True)
    errors, warnings = len(report.errors), len(report.problems) - len(report.errors)
    console.print(
        f"{report.path}: {_count(errors, 'error')}, {_count(warnings, 'warning')}", highlight=False, soft_wrap=True
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _row(report: "TaskReport") -> tuple[str, ...]:
    from vla_bench.authoring.trials import mean_steps

    solved = sum(trial.success for trial in report.trials)
    mean = mean_steps(report.trials)
    return (
        report.task.name,
        f"{solved} of {len(report.trials)}" if report.trials else "-",
        "-" if mean is None else f"{mean:.0f}",
        str(report.task.horizon),
        str(report.begins_alike),
        f"{report.chance:.0%}",
    )
