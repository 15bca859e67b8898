"""`vla-bench compare`: which policy is better, on identical episodes."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vla_bench.cli.tables import print_table


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("compare")(compare)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more run folders.")],
    alpha: Annotated[float, typer.Option(min=1e-6, max=0.5, help="Level of the tests.")] = 0.05,
    power: Annotated[float, typer.Option(min=0.5, max=0.999, help="Power to plan episodes for.")] = 0.8,
    difference: Annotated[
        float | None,
        typer.Option(min=0.1, max=100.0, help="Percentage points to plan episodes for. [default: seen, 5]"),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write every number here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the verdicts and tables here.")] = None,
    latex: Annotated[Path | None, typer.Option(help="Write the tables here, for booktabs.")] = None,
) -> None:
    """Compare policies on identical episodes: differences with intervals, exact tests, ranks, episodes to plan.

    Runs are compared only where suite, task, variant, index, seed, scene and protocol are the same. docs/statistics.md
    says which number means what.

    Example: `vla-bench compare runs/a runs/b --markdown results/a_b.md`
    """
    from vla_bench.core.paths import written_whole
    from vla_bench.results import comparison_tables as made
    from vla_bench.results.comparison import compare as compare_runs
    from vla_bench.results.pairing import read_paired_runs
    from vla_bench.results.verdicts import verdicts

    found = compare_runs(read_paired_runs(runs), alpha, power)
    tables = made.overview(found)
    for table in tables:
        print_table(table.header, table.rows, title=table.title, words=table.left)
    console = Console(highlight=False)
    for note in dict.fromkeys(note for table in tables for note in table.footnotes):
        console.print(note, style="dim", soft_wrap=True)
    console.print(made.caption(found), style="dim", soft_wrap=True)
    for text in verdicts(found, None if difference is None else difference / 100):
        console.print(f"- {text}", soft_wrap=True)
    for path, write in ((csv, made.csv), (markdown, made.markdown), (latex, made.latex)):
        if path is not None:
            with written_whole(path) as temporary:
                temporary.write_text(write(found), encoding="utf-8")
            console.print(str(path), soft_wrap=True)
