"""`vla-bench quickstart`: the whole job once, small."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vla_bench.cli.evaluate import print_leaderboard
from vla_bench.cli.options import Workers, worker_count
from vla_bench.cli.progress import progress_shown


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("quickstart")(quickstart)


def quickstart(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for everything it makes.")] = Path(
        "quickstart"
    ),
    recipe: Annotated[Path | None, typer.Option(help="TOML file. [default: the shipped one]")] = None,
    workers: Workers = None,
) -> None:
    """Demonstrations, LoRA, evaluation and a leaderboard, in at most 15 minutes on 2 cores.

    Stages that are finished are not done again; one that was stopped goes on where it stopped.
    """
    from vla_bench.quickstart import read_recipe, run_quickstart

    report = run_quickstart(read_recipe(recipe), output, worker_count(workers), _Terminal())
    print_leaderboard(report.leaderboard)
    console = Console(highlight=False)
    console.print(f"demonstrations at a glance   {report.contact_sheet}", soft_wrap=True)
    if report.videos:
        folders = ", ".join(sorted({str(path.parent) for path in report.videos}))
        console.print(f"videos                       {folders}", soft_wrap=True)
    console.print(f"report                       {report.leaderboard.report}", soft_wrap=True)
    console.print(f"\nThe whole quickstart took {report.elapsed_s / 60:.1f} minutes.")


class _Terminal:
    """Tells on the terminal how far the quickstart is."""

    def say(self, text: str) -> None:
        """Print one line."""
        typer.echo(text)

    def progress(self, title: str) -> AbstractContextManager[Callable[[int, int, str], None]]:
        """Return a block's progress bar."""
        return progress_shown(title)
