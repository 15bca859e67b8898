"""`vla-bench finetune`: from demonstrations to a policy."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from vla_bench.cli.model_options import ModelOptions
from vla_bench.cli.plan import print_plan
from vla_bench.cli.progress import progress_shown
from vla_bench.core.errors import CheckpointError
from vla_bench.core.validation import read_toml, validated
from vla_bench.training.config import FinetuneConfig

if TYPE_CHECKING:
    from vla_bench.training.finetune import FinetuneReport
    from vla_bench.training.state import TrainingProgress

_OPTIONS = ModelOptions(
    FinetuneConfig,
    names={
        "demos": ("--demos", "-d"),
        "output": ("--output", "-o"),
        "tasks": ("--task", "-t"),
        "targets": ("--target",),
        "cameras": ("--camera",),
    },
    prefixes={"augmentation": "augment-"},
    instead_of={
        "steps": "epochs",
        "epochs": "steps",
        "warmup_steps": "warmup_share",
        "warmup_share": "warmup_steps",
    },
)


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("finetune")(_OPTIONS.added_to(finetune))


def finetune(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="TOML file with these fields; options override it.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --output; an error where there is none.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print parameters, memory and steps; needs no weights, --demos or --output.")
    ] = False,
    **options: Any,
) -> None:
    """Fine-tune a base on demonstrations.

    A run that was stopped goes on from its last checkpoint, with the same command, or with `--resume --output PATH`.
    The output folder is the last checkpoint; `best` within it is the one with the least validation action error. Under
    `torchrun --nproc-per-node N -m vla_bench finetune ...` several processes share each step.

    Example: `vla-bench finetune --base openvla-nano --method lora --demos demos.hdf5 --output checkpoints/x`
    """
    if plan:
        _plan(config, options)
        return
    from vla_bench.training.finetune import finetune as run_finetune

    chosen = _configuration(config, resume, options)
    if not _is_main_process():
        run_finetune(chosen, resume=resume)
        return
    typer.echo(chosen.to_toml(), err=True)
    with progress_shown(chosen.method) as update:
        report = run_finetune(
            chosen, lambda progress: update(progress.step, progress.steps, state_of(progress)), resume=resume
        )
    print_finetuned(report)


def _is_main_process() -> bool:
    """Return whether this process speaks for those that torchrun started together."""
    return os.environ.get("RANK", "0") == "0"


def _configuration(path: Path | None, resume: bool, options: dict[str, Any]) -> FinetuneConfig:
    """Return the file's fields with the options laid over; a resumed run's own file where none is named."""
    from vla_bench.training.finetune import CONFIG_FILE

    output = options["output"]
    if path is None and resume and output is not None:
        if (output / CONFIG_FILE).is_file():
            path = output / CONFIG_FILE
        elif not options["demos"]:
            raise CheckpointError(output, f"there is no run to resume: it holds no {CONFIG_FILE}")
    content = {} if path is None else read_toml(path)
    source = "vla-bench finetune" if path is None else path
    return validated(FinetuneConfig, _merged(content, options), source)


def _plan(path: Path | None, options: dict[str, Any]) -> None:
    """Print what a run would train and take."""
    from vla_bench.training.plan import PlannedRun
    from vla_bench.training.plan import plan as plan_run

    content = {} if path is None else read_toml(path)
    source = "vla-bench finetune --plan" if path is None else path
    planned = validated(PlannedRun, _merged(content, options), source)
    print_plan(planned, plan_run(planned))


def _merged(content: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the file's fields with the options laid over; of cameras given as `name=key`, the key is a field apart."""
    merged = _OPTIONS.laid_over(content, options)
    pairs = [one.partition("=") for one in options["cameras"] or ()]
    if pairs:
        merged["cameras"] = [name for name, _, _ in pairs]
        merged["camera_sources"] = {name: key for name, _, key in pairs if key}
    return merged


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
    if report.best_step is not None and report.best_validation is not None:
        best = f"best validation action error {report.best_validation.action_l1:.3f} at step {report.best_step}"
        lines.append(f"{best}: {report.output}/best")
    Console(highlight=False).print("\n".join(lines), soft_wrap=True)
