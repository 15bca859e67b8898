"""`vla-bench latency`: success against latency."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vla_bench.cli.tables import print_text_table


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("latency")(latency)


def latency(
    runs: Annotated[list[Path], typer.Argument(help="Run folders that differ in their latency.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG or PDF of the curve.")],
    markdown: Annotated[Path | None, typer.Option(help="Write the table here.")] = None,
) -> None:
    """Draw the success of policies against their latency, from runs that differ in nothing else.

    `vla-bench run --latency 120ms+-20` (or `120ms±20`, or `measured`) makes such runs; docs/ledger.md says what the
    robot does meanwhile. What is lost against the least latency is paired on the same episodes.

    Example: `vla-bench latency runs/p runs/p-100ms runs/p-200ms --output results/latency.png`
    """
    from vla_bench.core.paths import written_whole
    from vla_bench.results.latency_curve import (
        latency_conditions,
        latency_page,
        latency_table,
        read_latency_curve,
        save_latency_curve,
    )

    points = read_latency_curve(runs)
    print_text_table(latency_table(points, latency_conditions(runs)))
    with written_whole(output) as temporary:
        save_latency_curve(points, temporary)
    Console().print(str(output), soft_wrap=True)
    if markdown is not None:
        with written_whole(markdown) as temporary:
            temporary.write_text(latency_page(runs), encoding="utf-8")
        Console().print(str(markdown), soft_wrap=True)
