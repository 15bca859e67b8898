"""What `vla-bench finetune --plan` prints."""

from typing import TYPE_CHECKING

from rich.console import Console

from vla_bench.cli.tables import print_table

if TYPE_CHECKING:
    from vla_bench.training.plan import FinetunePlan, PlannedRun

_GIGABYTE = 1e9


def print_plan(config: "PlannedRun", plan: "FinetunePlan") -> None:
    """Print the plan as a table."""
    memory, step = plan.memory, plan.step
    rows = [
        ("parameters", f"{plan.total_parameters:,}"),
        ("trained", f"{plan.trainable_parameters:,} ({plan.percentage:.2f} %)"),
        ("weights", _size(memory.weights)),
        ("gradients", _size(memory.gradients)),
        ("optimiser (AdamW)", _size(memory.optimiser)),
        ("activations", _size(memory.activations)),
        ("peak memory", _size(memory.peak)),
        ("steps", "as many as the epochs need" if plan.total_steps is None else f"{plan.total_steps:,}"),
    ]
    if plan.epochs is not None:
        rows += [
            ("frames to learn from", f"{plan.epochs.frames:,}"),
            ("steps an epoch", f"{plan.epochs.steps_per_epoch:,}"),
            ("epochs", f"{plan.epochs.epochs:.1f}"),
        ]
    checkpointing = ", gradient checkpointing" if step.gradient_checkpointing else ""
    title = f"{config.base}, {config.method}, batches of {step.batch_size}, {step.precision}{checkpointing}"
    print_table(("part", "estimate"), rows, title=title, words=1)
    Console(highlight=False).print(
        "Each part is shown at its largest; the peak is not their sum, because activations are freed as gradients are "
        "made. A GPU's own context and the allocator's reserve, some 1 to 2 GB, come on top.",
        soft_wrap=True,
    )


def _size(count: int) -> str:
    """Return bytes in gigabytes, of small things in megabytes."""
    return f"{count / _GIGABYTE:.2f} GB" if count >= _GIGABYTE else f"{1000 * count / _GIGABYTE:.1f} MB"
