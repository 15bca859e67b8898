"""Measure the speed of creating training batches from memory, HDF5 and videos, and of LoRA steps of openvla-nano.

The same demonstrations are read in three ways: images cached in memory, images read on demand from HDF5, and images
read on demand from a LeRobot export with H.264 videos. The cases alternate, so that other load on the machine affects
all of them equally.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from provenance import command, hardware, software, today

from vla_bench.core.files import written_whole
from vla_bench.core.types import CONTROL_HZ
from vla_bench.demos.formats.lerobot_export import export_lerobot
from vla_bench.demos.header import ACTION_CONVENTION
from vla_bench.demos.sources import SourceOptions, open_source
from vla_bench.models.openvla.checkpoint import Checkpoint, find_base, load_checkpoint
from vla_bench.training.batches import BatchMaker, frames_at
from vla_bench.training.config import FinetuneConfig, OptimizerConfig
from vla_bench.training.dataset import DemonstrationDataset, FrameSelection, dataset_statistics, load_demonstrations
from vla_bench.training.finetune import finetune

_BASE = "openvla-nano"
_CAMERAS = ("agentview", "wrist")


def main() -> None:
    """Measure all cases and write the table."""
    options = _parse(sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        cases = _cases(options.demos, Path(folder), options.batch_size)
        loaded = {title: [] for title in cases}
        for turn in range(options.turns):
            for title, make in cases.items():
                loaded[title].append(_samples_per_s(make, options.batch_size, options.seconds, turn))
        trained = _training_samples_per_s(options, Path(folder))
        table = _report(options, loaded, trained, _data(options.demos))
    with written_whole(options.output) as path:
        path.write_text(table, encoding="utf-8")
    print(table)


def _cases(demos: Path, folder: Path, batch_size: int) -> dict[str, Callable[[int], object]]:
    """Return a function per title that creates the n-th batch."""
    base = load_checkpoint(find_base(_BASE))
    selection = _selection(base)
    lazy = replace(selection, cache_bytes=0)
    with open_source(demos) as source:
        exported = export_lerobot(source, folder / "lerobot")
    videos = replace(lazy, options=SourceOptions(gripper="close_positive"), validation_share=0.0)
    return {
        "images cached in memory": _maker(base, load_demonstrations([demos], selection, "train"), batch_size),
        "HDF5 (gzip), read on demand": _maker(base, load_demonstrations([demos], lazy, "train"), batch_size),
        "LeRobot (H.264 video), read on demand": _maker(
            base, load_demonstrations([exported], videos, "train"), batch_size
        ),
    }


def _selection(base: Checkpoint) -> FrameSelection:
    config = base.config
    return FrameSelection(
        cameras=_CAMERAS,
        proprioception=config.proprioception_fields,
        proprioception_dim=config.proprioception_dim,
        image_size=config.image_size,
        control_hz=CONTROL_HZ,
        action_convention=ACTION_CONVENTION,
    )


def _maker(base: Checkpoint, dataset: DemonstrationDataset, batch_size: int) -> Callable[[int], object]:
    maker = BatchMaker(dataset, base.processor, dataset_statistics(dataset))
    return lambda number: maker.batch(
        frames_at(np.arange(number * batch_size, (number + 1) * batch_size), len(dataset), 0)
    )


def _samples_per_s(make: Callable[[int], object], batch_size: int, seconds: float, turn: int) -> float:
    make(1000 * turn)  # opens files
    count, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds or count == 0:
        count += 1
        make(1000 * turn + count)
    return count * batch_size / elapsed


def _training_samples_per_s(options: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Return samples/s of LoRA steps by the way of reading images, without the first step."""
    rates = {}
    for title, cache_gb in (("cached in memory", 4.0), ("read on demand from HDF5", 0.0)):
        optimizer = OptimizerConfig(steps=options.steps, batch_size=options.batch_size, warmup_steps=1)
        config = FinetuneConfig(
            demos=(options.demos,),
            output=folder / title,
            base=_BASE,
            optimiser=optimizer,
            evaluate_every=options.steps,
            validation_frames=1,
            image_cache_gb=cache_gb,
        )
        rates_of_steps: list[float] = []
        finetune(config, lambda progress, rates_of_steps=rates_of_steps: rates_of_steps.append(progress.samples_per_s))
        rates[title] = rates_of_steps[1:]
    return rates


def _data(demos: Path) -> str:
    with open_source(demos) as source:
        steps = sum(episode.steps for episode in source.episodes)
        height, width = source.facts.image_size
        cameras = len(source.facts.cameras)
    return f"{steps} frames of {cameras} cameras at {height} x {width} pixels"


def _report(
    options: argparse.Namespace, loaded: dict[str, list[float]], trained: dict[str, list[float]], data: str
) -> str:
    rows = [f"| batches: {title} | {_spread(rates)} |" for title, rates in loaded.items()]
    rows += [f"| LoRA step, images {title} | {_spread(rates)} |" for title, rates in trained.items()]
    return "\n".join(
        [
            "# Speed of creating training batches",
            "",
            "| case | samples/s, median | range |",
            "|---|---|---|",
            *rows,
            "",
            f"{data}, resized to the network's input size, in random order, in batches of {options.batch_size}; a",
            f"sample is a frame of all cameras. Batches: medians of {options.turns} turns of {options.seconds:g} s "
            "in one",
            f"thread, without other work in the process. LoRA: medians of {options.steps - 1} steps of `{_BASE}`, with",
            "batches created in a second thread. Reading releases the global interpreter lock of Python, so that "
            "both run",
            "at the same time.",
            "",
            f"- Hardware: {hardware()}",
            f"- Software: {software('torch', 'h5py', 'av')}; "
            f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '(not set)')}",
            f"- Date: {today()}",
            f"- Command: `{command()}`",
            "",
        ]
    )


def _spread(rates: Sequence[float]) -> str:
    return f"{statistics.median(rates):.0f} | {min(rates):.0f} to {max(rates):.0f}"


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demos", type=Path, help="demonstration file of `vla-bench generate-demos`")
    parser.add_argument("--output", type=Path, default=Path("results/data_loading.md"))
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of a turn")
    parser.add_argument("--turns", type=int, default=5, help="turns per case")
    parser.add_argument("--steps", type=int, default=15, help="LoRA steps per case")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
