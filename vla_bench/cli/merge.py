"""`vla-bench merge`: an adapter and its base as one folder."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("merge")(merge)


def merge(
    adapter: Annotated[Path, typer.Argument(help="Folder that `vla-bench finetune` wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder to write.")],
    base: Annotated[
        str | None,
        typer.Option(help="Name under baselines/, or a checkpoint folder. [default: what it was trained on]"),
    ] = None,
) -> None:
    """Merge an adapter into its base: one checkpoint that needs neither.

    A bottleneck adapter cannot become part of linear layers; it is written beside a copy of its base, and that folder
    too goes wherever a checkpoint does.

    Example: `vla-bench merge checkpoints/plate --output checkpoints/plate-merged`
    """
    from vla_bench.models.adapters import merge as merge_folders
    from vla_bench.models.openvla.checkpoint import find_base

    report = merge_folders(adapter, output, None if base is None else find_base(base))
    why = report.why_not_folded
    how = "a full checkpoint" if why is None else f"adapter and base side by side, because {why}"
    Console(highlight=False).print(f"{output}: {how}", soft_wrap=True)
