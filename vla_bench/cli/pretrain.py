"""`vla-bench pretrain`: make a base checkpoint from nothing."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vla_bench.cli.options import Output, Workers, worker_count
from vla_bench.cli.progress import progress_shown
from vla_bench.core.paths import data_folder

if TYPE_CHECKING:
    from vla_bench.training.pretraining import PretrainingProgress


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("pretrain")(pretrain)


def pretrain(
    output: Output,
    data: Annotated[Path, typer.Option(help="Folder for demonstrations and scenes; what is there is used.")],
    recipe: Annotated[Path | None, typer.Option(help="TOML file. [default: openvla-nano's]")] = None,
    workers: Workers = None,
) -> None:
    """Train a small OpenVLA from nothing: demonstrations, visual grounding, imitation.

    A run that was stopped goes on from its last checkpoint, with the same command.

    Example: `vla-bench pretrain --data runs/pretraining --output checkpoints/base`
    """
    from vla_bench.training.pretrain import pretrain_from_recipe

    path = recipe or data_folder("baselines") / "openvla-nano" / "recipe.toml"
    with progress_shown("pretraining") as update:
        pretrain_from_recipe(
            path,
            data,
            output,
            worker_count(workers),
            on_stage=lambda stage: typer.echo(stage),
            on_progress=lambda progress: update(progress.step, progress.steps, state_of(progress)),
        )
    typer.echo(f"base checkpoint: {output}")


def state_of(progress: "PretrainingProgress") -> str:
    """Return a training's state in a few words."""
    losses = f"imitation {progress.imitation_loss:.2f}, grounding {progress.grounding_loss:.2f}"
    return f"{progress.phase}: {losses}, {progress.samples_per_s:.0f} samples/s"
