"""Options that several commands share."""

import os
from pathlib import Path
from typing import Annotated

import typer

Suite = Annotated[str, typer.Option("--suite", "-s", help="Suite of tasks; `vla-bench list suites`.")]
Tasks = Annotated[
    list[str] | None, typer.Option("--task", "-t", help="Task of the suite; repeat for several. [default: all]")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Base seed; with the episode's index it decides the scene.")]
Workers = Annotated[
    int | None,
    typer.Option("--workers", "-w", min=1, help="Worker processes. [default: one a core]", show_default=False),
]
Robot = Annotated[str, typer.Option("--robot", help="Robot that acts; `vla-bench list robots`.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where to write; one that was begun is continued.")]


def worker_count(asked: int | None) -> int:
    """Return how many worker processes to use."""
    return asked or len(os.sched_getaffinity(0))
