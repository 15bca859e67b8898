"""The commands `quickstart`, `check`, `list` and `docs`."""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from vla_bench.cli.options import Robot, Workers, worker_count
from vla_bench.cli.reports import print_leaderboard
from vla_bench.cli.terminal import print_table, show_progress

if TYPE_CHECKING:
    from vla_bench.authoring import CheckReport
    from vla_bench.authoring.check import TaskReport


def quickstart(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for all output.")] = Path("quickstart"),
    recipe: Annotated[Path | None, typer.Option(help="TOML file. [default: the packaged recipe]")] = None,
    workers: Workers = None,
) -> None:
    """Run the whole pipeline: demonstrations, LoRA, evaluation, leaderboard (15 minutes at most on 2 cores).

    The same command resumes; finished stages are skipped.

    Example: `vla-bench quickstart --output quickstart`
    """
    from vla_bench.quickstart import read_recipe, run_quickstart

    report = run_quickstart(read_recipe(recipe), output, worker_count(workers), _TerminalDisplay())
    print_leaderboard(report.leaderboard)
    console = Console(highlight=False)
    console.print(f"contact sheet                {report.contact_sheet}", soft_wrap=True)
    if report.videos:
        folders = ", ".join(sorted({str(path.parent) for path in report.videos}))
        console.print(f"videos                       {folders}", soft_wrap=True)
    console.print(f"report                       {report.leaderboard.report}", soft_wrap=True)
    console.print(f"\nThe whole quickstart took {report.elapsed_s / 60:.1f} minutes.")


class _TerminalDisplay:
    """Terminal output of the quickstart."""

    def say(self, text: str) -> None:
        """Print one line."""
        typer.echo(text)

    def progress(self, title: str) -> AbstractContextManager[Callable[[int, int, str], None]]:
        """Return the progress bar of a block."""
        return show_progress(title)


_FOUND_ERRORS = 2  # exit status
_STYLES = {"error": "red", "warning": "yellow"}


def check(
    suites: Annotated[list[str], typer.Argument(help="Task files, or names of suites.")],
    seeds: Annotated[int, typer.Option(min=1, help="Scenes per task for resets and expert trials.")] = 10,
    robot: Robot = "panda",
    expert: Annotated[bool, typer.Option("--expert/--no-expert", help="Run the expert.")] = True,
) -> None:
    """Check task files without running a policy: text, scenes, start states and expert success.

    All mistakes are reported with file and field. The exit status is 2 with errors and 0 otherwise. To use a file
    outside the package, name it in `VLA_BENCH_TASKS` or by `vla-bench --tasks`.

    Example: `vla-bench check my_tasks.toml`
    """
    from vla_bench.authoring import CheckOptions, check_suite

    failed = False
    for suite in suites:
        with show_progress(f"checking {Path(suite).name}") as update:
            report = check_suite(suite, CheckOptions(seeds, expert, robot), update)
        print_check(report)
        failed |= bool(report.errors)
    if failed:
        raise typer.Exit(_FOUND_ERRORS)


def print_check(report: "CheckReport") -> None:
    """Print the table of tasks, then the findings, errors first."""
    if report.tasks:
        header = ("task", "expert", "mean steps", "horizon", "same start", "chance without language")
        print_table(header, [_task_row(task) for task in report.tasks], title=str(report.path), words=1)
    console = Console(stderr=True)
    for problem in sorted(report.problems, key=lambda problem: problem.severity):
        console.print(str(problem), style=_STYLES[problem.severity], highlight=False, markup=False, soft_wrap=True)
    errors, warnings = len(report.errors), len(report.problems) - len(report.errors)
    console.print(
        f"{report.path}: {_count(errors, 'error')}, {_count(warnings, 'warning')}", highlight=False, soft_wrap=True
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _task_row(report: "TaskReport") -> tuple[str, ...]:
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


def list_tasks(
    suite: Annotated[str | None, typer.Option("--suite", "-s", help="Only tasks of this suite.")] = None,
) -> None:
    """List the tasks with their instructions."""
    from vla_bench.tasks import suites, tasks_of

    tasks = [task for name in (suites() if suite is None else (suite,)) for task in tasks_of(name)]
    rows = [(task.id, task.instruction, " and ".join(map(str, task.goal)), str(task.horizon)) for task in tasks]
    print_table(("task", "instruction", "goal", "horizon"), rows)


def list_policies() -> None:
    """List the policy names for `run --policy`."""
    from vla_bench.policies import policy_descriptions

    print_table(("policy", "description"), policy_descriptions().items())


def list_suites() -> None:
    """List the suites."""
    from vla_bench.tasks import suites, tasks_of

    rows = [(name, str(len(tasks_of(name))), tasks_of(name)[0].engine) for name in suites()]
    print_table(("suite", "tasks", "engine"), rows)


def list_robots() -> None:
    """List the robot names for `--robot`; every file in envs/robots is a robot."""
    from vla_bench.envs.descriptions import describe_robot, description_names

    robots = {name: describe_robot(name) for name in description_names("robots")}
    rows = [
        (name, robot.noun, str(len(robot.arm.joints)), f"{100 * robot.gripper.fingers.opening_m:.1f} cm")
        for name, robot in robots.items()
    ]
    print_table(("robot", "description", "joints", "gripper opens"), rows)


def list_axes() -> None:
    """List the axes for `--perturb`, and their named sets."""
    from vla_bench.envs.perturbations import NAMED_SETS, perturbation_axes

    rows = [(name, " ".join((inspect.getdoc(perturbation_axes[name]) or "").split())) for name in perturbation_axes]
    print_table(("axis", "severities 1, 2, 3"), rows)
    sets = [(f"{name}-1, {name}-2, {name}-3", ", ".join(members)) for name, members in NAMED_SETS.items()]
    print_table(("set", "axes"), sets)


def write_task_page(
    output: Annotated[Path, typer.Option("--output", "-o", help="File of the page.")] = Path("docs/tasks.md"),
    table: Annotated[Path, typer.Option(help="Measurements of studies/expert_success.py.")] = Path("results/tasks.csv"),
    suite: Annotated[
        list[str] | None, typer.Option("--suite", "-s", help="Suite; repeat for several. [default: all]")
    ] = None,
    redraw: Annotated[
        bool, typer.Option("--redraw", help="Render all images again, not only missing and outdated ones.")
    ] = False,
) -> None:
    """Write the page of all tasks with an image of each; images of removed tasks are deleted.

    Example: `vla-bench docs tasks --output docs/tasks.md`
    """
    from vla_bench.authoring.images import is_current, is_ours, render_task_image
    from vla_bench.authoring.page import IMAGES_FOLDER, image_name, read_rows, tasks_page
    from vla_bench.core.files import written_whole
    from vla_bench.tasks import suites, tasks_of

    chosen = tuple(suite) if suite else suites()
    page = tasks_page(chosen, read_rows(table))
    shown = [task for name in chosen for task in tasks_of(name)]
    folder = output.parent / IMAGES_FOLDER
    missing = [task for task in shown if redraw or not is_current(task, folder / image_name(task))]
    if missing:
        with show_progress("images") as update:
            for number, task in enumerate(missing):
                update(number, len(missing), task.id)
                render_task_image(task, folder / image_name(task))
            update(len(missing), len(missing))
    if not suite:
        for image in set(folder.glob("*.jpg")) - {folder / image_name(task) for task in shown}:
            if is_ours(image):
                image.unlink()
    with written_whole(output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    Console().print(f"{output}: {len(shown)} tasks", highlight=False, soft_wrap=True)


list_commands = typer.Typer(
    no_args_is_help=True,
    help="List tasks, policies, suites, robots or axes.\n\nExample: `vla-bench list tasks`",
)
list_commands.command("tasks")(list_tasks)
list_commands.command("policies")(list_policies)
list_commands.command("suites")(list_suites)
list_commands.command("robots")(list_robots)
list_commands.command("axes")(list_axes)
docs_commands = typer.Typer(no_args_is_help=True)
docs_commands.command("tasks")(write_task_page)


@docs_commands.callback()
def _docs() -> None:
    """Write generated pages of documentation.

    Example: `vla-bench docs tasks`
    """
