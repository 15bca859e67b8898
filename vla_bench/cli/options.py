"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vla_bench.core.machine import usable_cores

Policy = Annotated[str, typer.Option("--policy", "-p", help="Name, card.toml, or package.module:factory.")]
Checkpoint = Annotated[Path | None, typer.Option(help="Checkpoint in place of the card's.")]
Suite = Annotated[str, typer.Option("--suite", "-s", help="Suite of tasks; `vla-bench list suites`.")]
Tasks = Annotated[
    list[str] | None, typer.Option("--task", "-t", help="Task of the suite; repeat for several. [default: all]")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Base seed; with the episode's index it decides the scene.")]
Workers = Annotated[
    int | None,
    typer.Option("--workers", "-w", min=1, help="Worker processes. [default: one a core]", show_default=False),
]
Rows = Annotated[int, typer.Option(min=1, help="Environments in each worker; all form one batch.")]
ImageSizeOfPolicy = Annotated[int | None, typer.Option(min=16, help="Pixels. [default: what the policy asks for]")]
Rendering = Annotated[Literal["fast", "faithful"], typer.Option(help="Quality of the images.")]
Robot = Annotated[str, typer.Option("--robot", help="Robot that acts; `vla-bench list robots`.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where to write; one that was begun is continued.")]
Run = Annotated[Path, typer.Argument(help="Run folder.")]
Runs = Annotated[list[Path], typer.Argument(help="Run folders.")]
RankWithErrors = Annotated[
    bool, typer.Option("--rank-with-errors", help="Rank policies although episodes ended in an error.")
]
Episode = Annotated[str, typer.Argument(help="task/index, or suite.task/variant/seed/index.")]


def worker_count(asked: int | None) -> int:
    """Return how many worker processes to use."""
    return asked or usable_cores()
