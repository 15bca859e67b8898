"""`vla-bench finetune`: from demonstrations to a policy."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from vla_bench.cli.options import Output
from vla_bench.cli.progress import progress_shown
from vla_bench.core.validation import validated

if TYPE_CHECKING:
    from vla_bench.training.finetune import FinetuneReport
    from vla_bench.training.trainer import TrainingProgress


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("finetune")(finetune)


def finetune(
    demos: Annotated[
        list[Path],
        typer.Option(
            "--demos", "-d", help="HDF5 file of vla_bench, robomimic or LIBERO, or a LeRobot v3 folder; repeat."
        ),
    ],
    output: Output,
    base: Annotated[str, typer.Option(help="Name under baselines/, or a checkpoint folder.")] = "openvla-nano",
    method: Annotated[Literal["lora", "full"], typer.Option(help="What to train.")] = "lora",
    task: Annotated[
        list[str] | None, typer.Option("--task", "-t", help="suite.task to learn; repeat. [default: all in the files]")
    ] = None,
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 600,
    batch_size: Annotated[int, typer.Option(help="Samples in a batch.")] = 64,
    accumulate: Annotated[int, typer.Option(help="Batches summed into one step.")] = 1,
    learning_rate: Annotated[float, typer.Option(help="AdamW's highest.")] = 5e-4,
    rank: Annotated[int, typer.Option(help="LoRA's rank.")] = 32,
    alpha: Annotated[int, typer.Option(help="LoRA's alpha.")] = 16,
    dropout: Annotated[float, typer.Option(help="LoRA's dropout.")] = 0.0,
    target: Annotated[
        list[str] | None, typer.Option(help="Linear layer that LoRA adapts; repeat. [default: all but the output]")
    ] = None,
    camera: Annotated[
        list[str] | None,
        typer.Option(help="Camera to learn from, or camera=key in the demonstrations; repeat, in the base's order."),
    ] = None,
    proprioception: Annotated[
        list[str] | None,
        typer.Option(help="Field to learn from; repeat, in the base's order. [default: as the base's]"),
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option(help="name:size of a part of a LeRobot state without names; repeat, in order.")
    ] = None,
    instruction: Annotated[
        str | None, typer.Option(help="What the robot was told. [default: what the demonstrations say]")
    ] = None,
    gripper: Annotated[
        Literal["close_positive", "open_positive", "close_one", "open_one"] | None,
        typer.Option(help="The demonstrations' gripper commands. [default: as their format has them]"),
    ] = None,
    orientation: Annotated[
        Literal["upright", "upside_down", "mirrored", "rotated_180"] | None,
        typer.Option(help="The demonstrations' images. [default: as their format has them]"),
    ] = None,
    recorded_hz: Annotated[
        int | None, typer.Option(min=1, help="Take the demonstrations as recorded at this rate, whatever they say.")
    ] = None,
    drop_noops: Annotated[bool, typer.Option("--drop-noops", help="Leave out steps at which nothing is done.")] = False,
    success_only: Annotated[bool, typer.Option(help="Leave out demonstrations known to fail.")] = True,
    validation_share: Annotated[
        float, typer.Option(min=0, max=0.9, help="Of episodes, where the demonstrations have no split.")
    ] = 0.1,
    image_cache_gb: Annotated[float, typer.Option(min=0, help="Images are kept in memory up to this size.")] = 4.0,
    statistics: Annotated[
        Literal["dataset", "base"], typer.Option(help="Normalise by these demonstrations, or as the base was trained.")
    ] = "dataset",
    evaluate_every: Annotated[int, typer.Option(help="Steps between validations; the checkpoint is kept then.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of batches, augmentation and new weights.")] = 0,
) -> None:
    """Fine-tune a base on demonstrations.

    A run that was stopped goes on from its last checkpoint, with the same command.

    Example: `vla-bench finetune --base openvla-nano --method lora --demos demos.hdf5 --output checkpoints/x`
    """
    from vla_bench.training import FinetuneConfig
    from vla_bench.training.finetune import finetune as run_finetune

    cameras, camera_sources = named_cameras(camera or ())
    chosen = {"targets": target, "cameras": cameras, "proprioception": proprioception}
    data = {
        "camera_sources": camera_sources,
        "state_fields": state or (),
        "instruction": instruction,
        "gripper": gripper,
        "orientation": orientation,
        "recorded_hz": recorded_hz,
        "drop_noops": drop_noops,
        "success_only": success_only,
        "validation_share": validation_share,
        "image_cache_gb": image_cache_gb,
    }
    options = {
        "demos": demos,
        "output": output,
        "base": base,
        "method": method,
        "tasks": task or (),
        "optimiser": {
            "steps": steps,
            "batch_size": batch_size,
            "accumulate": accumulate,
            "learning_rate": learning_rate,
            "warmup_steps": min(20, steps // 10),
        },
        "rank": rank,
        "alpha": alpha,
        "dropout": dropout,
        "statistics": statistics,
        "evaluate_every": evaluate_every,
        "seed": seed,
        **data,
        **{name: value for name, value in chosen.items() if value},
    }
    config = validated(FinetuneConfig, options, "vla-bench finetune")
    with progress_shown(method) as update:
        report = run_finetune(config, lambda progress: update(progress.step, progress.steps, state_of(progress)))
    print_finetuned(report)


def named_cameras(given: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return our camera names, and of those given as `name=key` the demonstrations' keys."""
    pairs = [one.partition("=") for one in given]
    return [name for name, _, _ in pairs], {name: key for name, _, key in pairs if key}


def state_of(progress: "TrainingProgress") -> str:
    """Return a training's state in a few words."""
    validation = progress.validation
    error = "" if validation is None else f", validation action error {validation.action_l1:.3f}"
    return f"loss {progress.loss:.3f}{error}, {progress.samples_per_s:.0f} samples/s"


def print_finetuned(report: "FinetuneReport") -> None:
    """Print what a training ended with."""
    error = "" if report.validation is None else f", validation action error {report.validation.action_l1:.3f}"
    lines = [
        f"{report.trained_parameters:,} parameters trained on {report.episodes} demonstrations, {report.frames} frames",
        f"{report.steps} steps in {report.elapsed_s:.0f} s, loss {report.loss:.3f}{error}",
        report.output,
    ]
    Console(highlight=False).print("\n".join(lines), soft_wrap=True)
