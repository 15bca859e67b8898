"""Command-line options shared by several commands."""

from pathlib import Path
from typing import Annotated

import typer

from vla_bench.core.machine import usable_cores

Policy = Annotated[str, typer.Option("--policy", "-p", help="Name, card.toml, or package.module:factory.")]
Checkpoint = Annotated[Path | None, typer.Option(help="Checkpoint instead of the card's.")]
Suite = Annotated[str, typer.Option("--suite", "-s", help="Suite of tasks; `vla-bench list suites`.")]
Tasks = Annotated[
    list[str] | None, typer.Option("--task", "-t", help="Task of the suite; repeat for several. [default: all]")
]
Seed = Annotated[
    int, typer.Option("--seed", min=0, help="Base seed; together with the episode index it decides the scene.")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", "-w", min=1, help="Worker processes. [default: one per core]", show_default=False),
]
Robot = Annotated[str, typer.Option("--robot", help="Robot; `vla-bench list robots`.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Output path; unfinished output is resumed.")]
Run = Annotated[Path, typer.Argument(help="Run folder.")]
Runs = Annotated[list[Path], typer.Argument(help="Run folders.")]
RankWithErrors = Annotated[
    bool, typer.Option("--rank-with-errors", help="Rank policies although some episodes ended in an error.")
]
Episode = Annotated[str, typer.Argument(help="task/index, or suite.task/variant/seed/index.")]


def worker_count(asked: int | None) -> int:
    """Return the number of worker processes, by default one per core."""
    return asked or usable_cores()


def selected_suites(suites: list[str] | None) -> tuple[str, ...]:
    """Return the selected suites."""
    from vla_bench.tasks import suites as all_suites

    return all_suites() if suites == ["all"] else tuple(suites or ())
