"""`vla-bench docs`: pages made from the registry."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vla_bench.cli.progress import progress_shown


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    group = typer.Typer(no_args_is_help=True, help="Write pages of documentation.")
    group.command("tasks")(tasks)
    app.add_typer(group, name="docs")


def tasks(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the page.")] = Path("docs/tasks.md"),
    table: Annotated[Path, typer.Option(help="What benchmarks/expert_success.py measured.")] = Path(
        "results/tasks.csv"
    ),
    suite: Annotated[list[str] | None, typer.Option("--suite", "-s", help="Repeat for several. [default: all]")] = None,
    redraw: Annotated[
        bool, typer.Option("--redraw", help="Draw all pictures anew, not only missing and stale ones.")
    ] = False,
) -> None:
    """Write the page of all tasks, with a picture of each; pictures of tasks that are no more are taken away.

    Example: `vla-bench docs tasks --output docs/tasks.md`
    """
    from vla_bench.authoring.page import PICTURES, picture_name, tasks_page
    from vla_bench.authoring.pictures import draw_task, is_current, is_ours
    from vla_bench.authoring.table import read_rows
    from vla_bench.core.paths import written_whole
    from vla_bench.tasks import suites, tasks_of

    chosen = tuple(suite) if suite else suites()
    page = tasks_page(chosen, read_rows(table))
    shown = [task for name in chosen for task in tasks_of(name)]
    folder = output.parent / PICTURES
    missing = [task for task in shown if redraw or not is_current(task, folder / picture_name(task))]
    if missing:
        with progress_shown("pictures") as update:
            for number, task in enumerate(missing):
                update(number, len(missing), task.id)
                draw_task(task, folder / picture_name(task))
            update(len(missing), len(missing))
    if not suite:
        for picture in set(folder.glob("*.jpg")) - {folder / picture_name(task) for task in shown}:
            if is_ours(picture):
                picture.unlink()
    with written_whole(output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    Console().print(f"{output}: {len(shown)} tasks", highlight=False, soft_wrap=True)
