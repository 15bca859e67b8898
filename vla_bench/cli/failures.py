"""`vla-bench failures`: where the episodes that failed went wrong."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vla_bench.cli.options import Run
from vla_bench.cli.tables import print_text_table


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("failures")(failures)


def failures(
    run: Run,
    expert: Annotated[
        Path | None,
        typer.Option(help="The expert's run on the same episodes, for path and time. [default: the run's control]"),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write every failed episode here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write buckets, and every failed episode, here.")] = None,
) -> None:
    """Sort failed episodes by where they went wrong, each with its index and the file of its video.

    docs/ledger.md says which sort means what.

    Example: `vla-bench failures runs/mine --expert runs/expert --markdown failures.md`
    """
    from vla_bench.core.paths import written_whole
    from vla_bench.results.failures import episode_table, failure_table, failures_csv, failures_page, read_failures

    report = read_failures(run, expert)
    print_text_table(failure_table(report))
    if not report.table.empty:
        print_text_table(episode_table(report))
    for path, text in ((csv, failures_csv), (markdown, failures_page)):
        if path is not None:
            with written_whole(path) as temporary:
                temporary.write_text(text([report]), encoding="utf-8")
            Console(highlight=False).print(str(path), soft_wrap=True)
