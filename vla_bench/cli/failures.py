"""`vla-bench failures`: where the episodes that failed went wrong."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vla_bench.cli.tables import print_table


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("failures")(failures)


def failures(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    expert: Annotated[
        Path | None, typer.Option(help="The expert's run on the same episodes, to compare the hand's way with.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write every failed episode here.")] = None,
) -> None:
    """Sort failed episodes by where they went wrong, with the names of their videos.

    Example: `vla-bench failures runs/mine --expert runs/expert --csv failures.csv`
    """
    from vla_bench.core.paths import written_whole
    from vla_bench.results.failures import failure_table
    from vla_bench.results.failures import failures as made
    from vla_bench.results.runs import read_run

    table = made(run, expert)
    episodes = read_run(run).episodes
    text = failure_table(table, int((episodes["outcome"] != "error").sum()))
    print_table(text.header, text.rows, title=text.title, words=1)
    console = Console(highlight=False)
    ways = table["path_over_expert"].dropna()
    if len(ways):
        console.print(f"The hand's way in failed episodes: {ways.median():.1f} times the expert's in the median.")
    if csv is not None:
        with written_whole(csv) as path:
            table.to_csv(path, index=False, float_format="%.10g", lineterminator="\n")
        console.print(str(csv), soft_wrap=True)
