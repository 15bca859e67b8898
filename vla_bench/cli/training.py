"""The commands `finetune`, `merge` and `pretrain`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from vla_bench.cli.model_options import ModelOptions
from vla_bench.cli.options import Output, Workers, worker_count
from vla_bench.cli.terminal import print_table, show_progress
from vla_bench.core.configuration import read_toml, validated
from vla_bench.core.errors import CheckpointError
from vla_bench.core.files import data_folder
from vla_bench.training.config import FinetuneConfig

if TYPE_CHECKING:
    from vla_bench.training.checkpoints import TrainingProgress
    from vla_bench.training.finetune import FinetuneReport
    from vla_bench.training.plan import FinetunePlan, PlannedRun
    from vla_bench.training.pretraining.trainer import PretrainingProgress


FINETUNE_OPTIONS = ModelOptions(
    FinetuneConfig,
    names={
        "demos": ("--demos", "-d"),
        "output": ("--output", "-o"),
        "tasks": ("--task", "-t"),
        "targets": ("--target",),
        "cameras": ("--camera",),
    },
    prefixes={"augmentation": "augment-"},
    replaces={
        "steps": "epochs",
        "epochs": "steps",
        "warmup_steps": "warmup_share",
        "warmup_share": "warmup_steps",
    },
)


@FINETUNE_OPTIONS.add_to_command
def finetune(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="TOML file with these fields; options override it.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the run in --output; an error if there is none.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print parameters, memory and steps; needs no weights, --demos or --output.")
    ] = False,
    **options: Any,
) -> None:
    """Fine-tune a base on demonstrations.

    The same command, or `--resume --output PATH`, resumes from the last checkpoint. The output folder is the last
    checkpoint; its folder `best` is the checkpoint with the smallest validation action error. Under
    `torchrun --nproc-per-node N -m vla_bench finetune ...` several processes share each step.

    Example: `vla-bench finetune --base openvla-nano --method lora --demos demos.hdf5 --output checkpoints/x`
    """
    if plan:
        _print_finetuning_plan(config, options)
        return
    from vla_bench.training.finetune import finetune as run_finetune

    chosen = _configuration(config, resume, options)
    if not _is_main_process():
        run_finetune(chosen, resume=resume)
        return
    typer.echo(chosen.to_toml(), err=True)
    with show_progress(chosen.method) as update:
        report = run_finetune(
            chosen, lambda progress: update(progress.step, progress.steps, finetuning_text(progress)), resume=resume
        )
    print_finetuned(report)


def _is_main_process() -> bool:
    """Return whether this is the main process of those started by torchrun."""
    return os.environ.get("RANK", "0") == "0"


def _configuration(path: Path | None, resume: bool, options: dict[str, Any]) -> FinetuneConfig:
    """Return the fields of the file, overridden by options; for a resumed run without file its own."""
    from vla_bench.training.finetune import CONFIG_FILE

    output = options["output"]
    if path is None and resume and output is not None:
        if (output / CONFIG_FILE).is_file():
            path = output / CONFIG_FILE
        elif not options["demos"]:
            raise CheckpointError(output, f"there is no run to resume: it holds no {CONFIG_FILE}")
    content = {} if path is None else read_toml(path)
    source = "vla-bench finetune" if path is None else path
    return validated(FinetuneConfig, _merged_options(content, options), source)


def _print_finetuning_plan(path: Path | None, options: dict[str, Any]) -> None:
    """Print parameters, memory and steps of a run."""
    from vla_bench.training.plan import PlannedRun
    from vla_bench.training.plan import plan as plan_run

    content = {} if path is None else read_toml(path)
    source = "vla-bench finetune --plan" if path is None else path
    planned = validated(PlannedRun, _merged_options(content, options), source)
    print_plan(planned, plan_run(planned))


def _merged_options(content: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the file, overridden by options; the key of a camera `name=key` is a separate field."""
    merged = FINETUNE_OPTIONS.merge_over(content, options)
    pairs = [one.partition("=") for one in options["cameras"] or ()]
    if pairs:
        merged["cameras"] = [name for name, _, _ in pairs]
        merged["camera_sources"] = {name: key for name, _, key in pairs if key}
    return merged


def finetuning_text(progress: "TrainingProgress") -> str:
    """Return the training state as short text."""
    validation = progress.validation
    error = "" if validation is None else f", validation action error {validation.action_l1:.3f}"
    return f"loss {progress.loss:.3f}{error}, {progress.samples_per_s:.0f} samples/s"


def print_finetuned(report: "FinetuneReport") -> None:
    """Print the result of a training."""
    error = "" if report.validation is None else f", validation action error {report.validation.action_l1:.3f}"
    share = 100 * report.trained_parameters / report.total_parameters
    lines = [
        f"{report.trained_parameters:,} of {report.total_parameters:,} parameters trained ({share:.2f} %), "
        f"on {report.episodes} demonstrations, {report.frames} frames",
        f"{report.steps} steps in {report.elapsed_s:.0f} s, loss {report.loss:.3f}{error}",
        report.output,
    ]
    if report.best_step is not None and report.best_validation is not None:
        best = f"best validation action error {report.best_validation.action_l1:.3f} at step {report.best_step}"
        lines.append(f"{best}: {report.output}/best")
    Console(highlight=False).print("\n".join(lines), soft_wrap=True)


_GIGABYTE = 1e9


def print_plan(config: "PlannedRun", plan: "FinetunePlan") -> None:
    """Print the plan as a table."""
    memory, step = plan.memory, plan.step
    rows = [
        ("parameters", f"{plan.total_parameters:,}"),
        ("trained", f"{plan.trainable_parameters:,} ({plan.percentage:.2f} %)"),
        ("weights", _size_text(memory.weights)),
        ("gradients", _size_text(memory.gradients)),
        ("optimizer (AdamW)", _size_text(memory.optimizer)),
        ("activations", _size_text(memory.activations)),
        ("peak memory", _size_text(memory.peak)),
        ("steps", "as the epochs need" if plan.total_steps is None else f"{plan.total_steps:,}"),
    ]
    if plan.epochs is not None:
        rows += [
            ("training frames", f"{plan.epochs.frames:,}"),
            ("steps per epoch", f"{plan.epochs.steps_per_epoch:,}"),
            ("epochs", f"{plan.epochs.epochs:.1f}"),
        ]
    checkpointing = ", gradient checkpointing" if step.gradient_checkpointing else ""
    title = f"{config.base}, {config.method}, batches of {step.batch_size}, {step.precision}{checkpointing}"
    print_table(("part", "estimate"), rows, title=title, words=1)
    Console(highlight=False).print(
        "Each part is its maximum; the peak is not their sum, because activations are freed while gradients are "
        "computed. The GPU context and the reserve of the allocator add about 1 to 2 GB.",
        soft_wrap=True,
    )


def _size_text(count: int) -> str:
    """Return a size in gigabytes, or in megabytes if small."""
    return f"{count / _GIGABYTE:.2f} GB" if count >= _GIGABYTE else f"{1000 * count / _GIGABYTE:.1f} MB"


def merge(
    adapter: Annotated[Path, typer.Argument(help="Output folder of `vla-bench finetune`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder to write.")],
    base: Annotated[
        str | None,
        typer.Option(help="Name under baselines/, or a checkpoint folder. [default: the base of its training]"),
    ] = None,
) -> None:
    """Merge an adapter into its base: one self-contained checkpoint.

    A bottleneck adapter cannot be merged into linear layers; it is written together with a copy of its base, and that
    folder is also a valid checkpoint.

    Example: `vla-bench merge checkpoints/plate --output checkpoints/plate-merged`
    """
    from vla_bench.models.adapters import merge as merge_folders
    from vla_bench.models.openvla.checkpoint import find_base

    report = merge_folders(adapter, output, None if base is None else find_base(base))
    why = report.unmergeable_reason
    how = "a full checkpoint" if why is None else f"adapter and base in one folder, because {why}"
    Console(highlight=False).print(f"{output}: {how}", soft_wrap=True)


def pretrain(
    output: Output,
    data: Annotated[Path, typer.Option(help="Folder for demonstrations and scenes; existing ones are used.")],
    recipe: Annotated[Path | None, typer.Option(help="TOML file. [default: openvla-nano's]")] = None,
    workers: Workers = None,
) -> None:
    """Pretrain a small OpenVLA from random weights: demonstrations, visual grounding, imitation.

    The same command resumes from the last checkpoint.

    Example: `vla-bench pretrain --data runs/pretraining --output checkpoints/base`
    """
    from vla_bench.training.pretraining.run import pretrain_from_recipe

    path = recipe or data_folder("baselines") / "openvla-nano" / "recipe.toml"
    with show_progress("pretraining") as update:
        pretrain_from_recipe(
            path,
            data,
            output,
            worker_count(workers),
            on_stage=lambda stage: typer.echo(stage),
            on_progress=lambda progress: update(progress.step, progress.steps, pretraining_text(progress)),
        )
    typer.echo(f"base checkpoint: {output}")


def pretraining_text(progress: "PretrainingProgress") -> str:
    """Return the training state as short text."""
    losses = f"imitation {progress.imitation_loss:.2f}, grounding {progress.grounding_loss:.2f}"
    return f"{progress.phase}: {losses}, {progress.samples_per_s:.0f} samples/s"
