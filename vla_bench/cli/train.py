"""`vla-bench finetune`: from demonstrations to a policy."""

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
    demos: Annotated[list[Path], typer.Option("--demos", "-d", help="Demonstration file; repeat for several.")],
    output: Output,
    base: Annotated[str, typer.Option(help="Name under baselines/, or a checkpoint folder.")] = "openvla-nano",
    method: Annotated[str, typer.Option(help="full, lora, dora, qlora or adapter (bottleneck adapters).")] = "lora",
    preset: Annotated[
        Literal["openvla", "plain"],
        typer.Option(help="Of LoRA: rank 32, all linear layers; or rank 8, the decoder's attention."),
    ] = "openvla",
    task: Annotated[
        list[str] | None, typer.Option("--task", "-t", help="suite.task to learn; repeat. [default: all in the files]")
    ] = None,
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 600,
    batch_size: Annotated[int, typer.Option(help="Samples in a batch.")] = 64,
    accumulate: Annotated[int, typer.Option(help="Batches summed into one step.")] = 1,
    learning_rate: Annotated[float, typer.Option(help="AdamW's highest.")] = 5e-4,
    rank: Annotated[int | None, typer.Option(help="LoRA's rank. [default: the preset's]")] = None,
    alpha: Annotated[int | None, typer.Option(help="LoRA's alpha. [default: the preset's]")] = None,
    dropout: Annotated[float | None, typer.Option(help="LoRA's dropout. [default: the preset's]")] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Linear layer that LoRA adapts; repeat. [default: the preset's]")
    ] = None,
    reduction: Annotated[int, typer.Option(help="Of adapters: the network's width over theirs.")] = 16,
    adapt_vision: Annotated[bool, typer.Option("--adapt-vision", help="Adapters in the vision towers too.")] = False,
    camera: Annotated[
        list[str] | None,
        typer.Option(help="Camera to learn from; repeat, in the base's order. [default: as the base's]"),
    ] = None,
    proprioception: Annotated[
        list[str] | None,
        typer.Option(help="Field to learn from; repeat, in the base's order. [default: as the base's]"),
    ] = None,
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

    chosen = {"targets": target, "cameras": camera, "proprioception": proprioception}
    chosen_of_method = {"rank": rank, "alpha": alpha, "dropout": dropout}
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
        "preset": preset,
        "reduction": reduction,
        "adapt_vision": adapt_vision,
        "statistics": statistics,
        "evaluate_every": evaluate_every,
        "seed": seed,
        **{name: value for name, value in chosen_of_method.items() if value is not None},
        **{name: value for name, value in chosen.items() if value},
    }
    config = validated(FinetuneConfig, options, "vla-bench finetune")
    with progress_shown(method) as update:
        report = run_finetune(config, lambda progress: update(progress.step, progress.steps, state_of(progress)))
    print_finetuned(report)


def state_of(progress: "TrainingProgress") -> str:
    """Return a training's state in a few words."""
    validation = progress.validation
    error = "" if validation is None else f", validation action error {validation.action_l1:.3f}"
    return f"loss {progress.loss:.3f}{error}, {progress.samples_per_s:.0f} samples/s"


def print_finetuned(report: "FinetuneReport") -> None:
    """Print what a training ended with."""
    error = "" if report.validation is None else f", validation action error {report.validation.action_l1:.3f}"
    share = 100 * report.trained_parameters / report.total_parameters
    lines = [
        f"{report.trained_parameters:,} of {report.total_parameters:,} parameters trained ({share:.2f} %), "
        f"on {report.episodes} demonstrations, {report.frames} frames",
        f"{report.steps} steps in {report.elapsed_s:.0f} s, loss {report.loss:.3f}{error}",
        report.output,
    ]
    Console(highlight=False).print("\n".join(lines), soft_wrap=True)
