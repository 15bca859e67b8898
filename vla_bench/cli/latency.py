"""`vla-bench latency`: success against latency."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vla_bench.cli.tables import print_table


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("latency")(latency)


def latency(
    runs: Annotated[list[Path], typer.Argument(help="Run folders that differ in their latency.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG or PDF of the curve.")],
) -> None:
    """Draw the success of policies against their latency, from runs that differ in nothing else.

    Example: `vla-bench latency runs/p runs/p-100ms runs/p-200ms --output results/latency.png`
    """
    from vla_bench.core.paths import written_whole
    from vla_bench.results.latency_curve import latency_table, read_latency_curve, save_latency_curve

    points = read_latency_curve(runs)
    table = latency_table(points)
    print_table(table.header, table.rows, title=table.title, words=table.left)
    with written_whole(output) as temporary:
        save_latency_curve(points, temporary)
    Console().print(str(output), soft_wrap=True)
