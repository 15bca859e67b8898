"""Compare the memory predicted by `vla-bench finetune --plan` with measured steps, and time steps of all methods.

Memory: each case runs in its own process; its value is the peak resident set size during a step, minus the size before
the network is created. Time: all methods alternate in one process, so that other load on the machine affects all of
them equally. Everything runs on the CPU; the values for openvla-7b are estimates.
"""

import argparse
import gc
import os
import statistics
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from provenance import command, hardware, software, today
from training_step import BATCH_SIZES, Case, TrainingStep, estimated

from vla_bench.core.files import written_whole
from vla_bench.core.worker_pool import run_jobs
from vla_bench.models.openvla.config import openvla_7b_config
from vla_bench.training.memory import MemoryEstimate, StepShape, estimate_memory
from vla_bench.training.methods import MethodOptions, TrainableNetwork

Planned = tuple[
    str, int, bool, TrainableNetwork, MemoryEstimate
]  # method, batch size, gradient checkpointing, prediction

_STEPS = 2  # measured for memory, after one step that creates the optimizer state
_GUIDE = {"full": "about 60", "lora": "about 16", "adapter": "about 20"}  # GB, from the published guide
_README = {("lora", 1): "at least 27", ("lora", 16): "about 72"}  # GB, openvla/openvla README
_SHARES = {"lora": "about 1", "adapter": "about 2"}  # percent, of the published guide


_ABOUT_7B = """\
Published: the values of the guide to fine-tuning OpenVLA (full about 60, LoRA about 16, adapters about 20 GB; LoRA
about 1 % and adapters about 2 % of the parameters), which name no batch size, and those of OpenVLA's README for LoRA of
rank 32 (at least 27 GB; about 72 GB at a batch of 16, without gradient checkpointing). The estimate excludes the CUDA
context, libraries and the reserve of the allocator. OpenVLA's paper gives 1.4 % of the parameters for LoRA. The
total is smaller than the 7.54 billion of the published checkpoint by the last block of each vision tower and SigLIP's
pooling head, which OpenVLA never uses and which are not created here. Query, key and value are one layer in its towers
and three here, so the parameter count of LoRA differs slightly."""


_METHODS = ("full", "lora", "dora", "qlora", "adapter")
CASES = (
    *(Case("nano", method) for method in _METHODS),
    *(Case("middle", method) for method in _METHODS),
    *(Case("middle", method, gradient_checkpointing=True) for method in ("full", "lora", "adapter")),
    *(Case("middle", method, "bf16-weights") for method in ("full", "lora", "adapter")),
)


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/finetune_memory.md"))
    parser.add_argument("--turns", type=int, default=9, help="timed steps per method")
    options = parser.parse_args()
    # Freed memory is returned to the system at once, so that the resident set is the memory in use.
    os.environ.update(MALLOC_TRIM_THRESHOLD_="0", MALLOC_MMAP_THRESHOLD_="65536", OMP_NUM_THREADS="1")
    planned = _in_own_process(_planned_7b, None)
    memory = []
    for case in CASES:
        memory.append((case, *_in_own_process(_measured_memory, case)))
        print(_memory_row(*memory[-1]), file=sys.stderr, flush=True)
    times = _in_own_process(_step_times, options.turns)
    page = report(memory, times, planned)
    with written_whole(options.output) as path:
        path.write_text(page, encoding="utf-8")
    print(page)


def _in_own_process(function: Callable[[Any], Any], argument: Any) -> Any:
    [(_, answer)] = run_jobs([(None, "")], 1, partial(_job_calling, function, argument))
    return answer


def _job_calling(function: Callable[[Any], Any], argument: Any) -> Callable[[str], Any]:
    return lambda _: function(argument)


def _measured_memory(case: Case) -> tuple[int, int, int]:
    """Return the number of parameters, and the estimated and measured peak [bytes]."""
    torch.set_num_threads(1)
    trained, memory = estimated(case)
    warm = TrainingStep(Case("nano", "full"), rows=2)  # initializes libraries
    warm()
    del warm
    gc.collect()
    before = _resident("VmRSS")
    step = TrainingStep(case)
    step()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak value
    for _ in range(_STEPS):
        step()
    return trained.total_parameters, memory.peak, _resident("VmHWM") - before


def _step_times(turns: int) -> dict[str, list[float]]:
    """Return the times [s] of single steps of openvla-nano by method."""
    torch.set_num_threads(1)
    made = {method: TrainingStep(Case("nano", method)) for method in _METHODS}
    for step in made.values():
        step()
    seconds: dict[str, list[float]] = {method: [] for method in made}
    for _ in range(turns):
        for method, step in made.items():
            began = time.perf_counter()
            step()
            seconds[method].append(time.perf_counter() - began)
    return seconds


def _planned_7b(_: None) -> list[Planned]:
    """Return the predictions for openvla-7b."""
    rows = []
    for method in _METHODS:
        for batch, checkpointing in ((1, False), (16, False), (16, True)):
            step = StepShape(batch, "bf16-weights", checkpointing)
            trained, memory = estimate_memory(openvla_7b_config(), MethodOptions(method=method), step)
            rows.append((method, batch, checkpointing, replace(trained, adapter=None), memory))
    return rows


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def report(
    memory: Sequence[tuple[Case, int, int, int]],
    times: Mapping[str, Sequence[float]],
    planned: Sequence[Planned],
) -> str:
    """Return the page as Markdown."""
    errors = [abs(estimated / measured - 1) for _, _, estimated, measured in memory]
    return "\n".join(
        [
            "# Memory and time of fine-tuning",
            "",
            "## Predicted and measured memory of a step on the CPU",
            "",
            "| network | parameters | batch | method | precision | gradient checkpointing | plan [MB] | measured [MB] "
            "| plan / measured |",
            "|---|---|---|---|---|---|---|---|---|",
            *(_memory_row(*row) for row in memory),
            "",
            *textwrap.wrap(_about_memory(errors), 112),
            "",
            "## A step of openvla-nano, by method",
            "",
            "| method | trained parameters | median [ms] | range [ms] | time relative to full |",
            "|---|---|---|---|---|",
            *(_time_row(method, seconds, times["full"]) for method, seconds in times.items()),
            "",
            *textwrap.wrap(_about_times(len(times["full"])), 112),
            "",
            "## The plan for openvla-7b",
            "",
            "**Nothing in this table was run on a GPU**: it is what `vla-bench finetune --plan --base openvla-7b "
            "--precision bf16-weights` predicts.",
            "",
            "| method | parameters trained | batch | gradient checkpointing | weights [GB] | gradients [GB] "
            "| AdamW [GB] | activations [GB] | peak [GB] | published [GB] |",
            "|---|---|---|---|---|---|---|---|---|---|",
            *(_planned_row(*row) for row in planned),
            "",
            *textwrap.wrap(_ABOUT_7B, 112),
            "",
            f"- Hardware: {hardware()}, shared with other work",
            f"- Software: {software('torch', 'transformers', 'peft', 'bitsandbytes')}",
            f"- Date: {today()}",
            f"- Command: `{command()}`",
            "",
        ]
    )


def _about_memory(errors: Sequence[float]) -> str:
    return (
        f"The median error of the prediction is {100 * statistics.median(errors):.0f} %, the largest "
        f"{100 * max(errors):.0f} %. Measured: peak resident set size during {_STEPS} steps, minus the size before the "
        "network is created; one process per case, one thread. Weights and batches are random; *middle* is a network "
        "of the same architecture defined for this page."
    )


def _about_times(turns: int) -> str:
    return (
        f"Forward, backward, clipping and AdamW on a batch of {BATCH_SIZES['nano']} in float32, without creating the "
        f"batch; {turns} turns, one thread; all methods alternate in one process. The last column is the median of the "
        "ratios within a turn. The machine was shared with other work. A network of 1.3 million parameters gains "
        "little from training fewer of them: each LoRA layer adds two small matrix products to a small one."
    )


def _memory_row(case: Case, parameters: int, estimated: int, measured: int) -> str:
    checkpointing = "yes" if case.gradient_checkpointing else "no"
    return (
        f"| {case.size} | {parameters / 1e6:.1f} M | {BATCH_SIZES[case.size]} | {case.method} | {case.precision} "
        f"| {checkpointing} | {estimated / 1e6:.0f} | {measured / 1e6:.0f} | {estimated / measured:.2f} |"
    )


def _time_row(method: str, seconds: Sequence[float], full: Sequence[float]) -> str:
    ratio = statistics.median(mine / theirs for mine, theirs in zip(seconds, full, strict=True))
    milliseconds = [1000 * value for value in seconds]
    trained, _ = estimated(Case("nano", method))
    return (
        f"| {method} | {trained.trainable_parameters:,} ({trained.percentage:.1f} %) "
        f"| {statistics.median(milliseconds):.0f} | {min(milliseconds):.0f} to {max(milliseconds):.0f} | {ratio:.2f} |"
    )


def _planned_row(
    method: str, batch: int, checkpointing: bool, trained: TrainableNetwork, memory: MemoryEstimate
) -> str:
    published = "" if checkpointing else _README.get((method, batch), "")
    guide = _GUIDE.get(method, "") if batch == 1 else ""
    share = f"{trained.percentage:.2f} %" + (f" (guide: {_SHARES[method]} %)" if method in _SHARES else "")
    sizes = (memory.weights, memory.gradients, memory.optimizer, memory.activations, memory.peak)
    numbers = " | ".join(f"{size / 1e9:.1f}" for size in sizes)
    said = "; ".join(filter(None, [f"guide {guide}" if guide else "", f"README {published}" if published else ""]))
    return (
        f"| {method} | {trained.trainable_parameters:,}, {share} | {batch} | {'yes' if checkpointing else 'no'} "
        f"| {numbers} | {said or '-'} |"
    )


if __name__ == "__main__":
    main()
