"""Measure actions per second of an OpenVLA network by batch size: eager, recorded and compiled.

The default is `openvla-nano` on the CPU. `--checkpoint` measures any checkpoint folder; `--random-7b` measures the
published size with random weights in bf16, for GPU machines (`--device cuda`).
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from provenance import command, hardware, software, today

from vla_bench.core.files import data_folder, written_whole
from vla_bench.models.compilation import CALLS_BEFORE_TRACING, CALLS_CHECKED, Traced, compile_network
from vla_bench.models.openvla.checkpoint import load_checkpoint
from vla_bench.models.openvla.config import openvla_7b_config
from vla_bench.models.openvla.initialization import random_network
from vla_bench.models.openvla.network import OpenVLA

ActionLogits = Callable[..., torch.Tensor]
_RECORDED = "recorded"
_PROMPT_TOKENS = 24  # for networks without a fixed prompt length


@dataclass(frozen=True)
class Setting:
    """One line of the table."""

    batch: int
    mode: str  # eager, recorded or compiled


@torch.inference_mode()
def measure(
    network: OpenVLA, modes: Mapping[str, ActionLogits], batches: Sequence[int], rounds: int, device: str
) -> dict[Setting, list[float]]:
    """Return the times of calls [s]; settings alternate, so that other load affects all of them equally."""
    settings = [Setting(batch, mode) for batch in batches for mode in modes]
    inputs = {batch: _inputs(network, batch, device) for batch in batches}
    for setting in settings:  # compilation or recording, and memory allocation
        for _ in range(CALLS_BEFORE_TRACING + CALLS_CHECKED + 1 if setting.mode == _RECORDED else 3):
            modes[setting.mode](*inputs[setting.batch])
    seconds: dict[Setting, list[float]] = {setting: [] for setting in settings}
    for number in range(rounds):
        for setting in settings:
            seconds[setting].append(_timed(modes[setting.mode], inputs[setting.batch], device))
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return seconds


def _timed(action_logits: ActionLogits, inputs: tuple[torch.Tensor | None, ...], device: str) -> float:
    _wait(device)
    began = time.perf_counter()
    action_logits(*inputs)
    _wait(device)
    return time.perf_counter() - began


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _inputs(network: OpenVLA, batch: int, device: str) -> tuple[torch.Tensor | None, ...]:
    config, generator = network.config, torch.Generator().manual_seed(0)
    tokens = config.prompt_length or _PROMPT_TOKENS
    ids = torch.randint(3, 300, (batch, tokens), generator=generator)
    channels = config.num_images * 3 * len(config.towers)
    pixels = torch.randn(batch, channels, config.image_size, config.image_size, generator=generator)
    proprioception = torch.randn(batch, config.proprioception_dim, generator=generator).to(device)
    return (
        ids.to(device),
        torch.ones_like(ids).to(device),
        pixels.to(device),
        proprioception if config.proprioception_dim else None,
    )


def report(seconds: dict[Setting, list[float]], network: OpenVLA, title: str, threads: int, device: str) -> str:
    """Return the page as Markdown."""
    chunk = network.config.chunk_size
    parameters = sum(value.numel() for value in network.parameters())
    return "\n".join(
        [
            "# OpenVLA: actions per second",
            "",
            f"{title}: {parameters / 1e6:.1f} million parameters, {next(network.parameters()).dtype}, on {device}.",
            f"A prediction for one observation is a chunk of {chunk} action{'s' * (chunk > 1)}.",
            "",
            "| batch | network | ms per call, median | quartiles | predictions/s | actions/s |",
            "|---|---|---|---|---|---|",
            *(_row(setting, times, chunk) for setting, times in seconds.items()),
            "",
            "Images and prompts are prepared tensors; the times exclude preprocessing. Settings alternated for",
            f"{len(next(iter(seconds.values())))} rounds, on a machine shared with other work: medians and quartiles",
            "of single calls. Policies on the CPU use the recorded network, whose outputs are bit-identical to eager.",
            "The times exclude recording and compilation.",
            "",
            *_not_run(title, device),
            f"- Hardware: {_on(device)}, {threads} threads",
            f"- Software: {software('torch', 'transformers')}",
            f"- Date: {today()}",
            f"- Command: `{command()}`",
            "",
        ]
    )


def _row(setting: Setting, times: Sequence[float], chunk: int) -> str:
    low, middle, high = statistics.quantiles(times, n=4)
    return (
        f"| {setting.batch} | {setting.mode} | {1000 * middle:.1f} | "
        f"{1000 * low:.1f} to {1000 * high:.1f} | {setting.batch / middle:.0f} | {setting.batch * chunk / middle:.0f} |"
    )


def _not_run(title: str, device: str) -> list[str]:
    if device.startswith("cuda") and "7B" in title:
        return []
    return ["Not run: the 7B size on a GPU (`--random-7b --device cuda`), and the original code.", ""]


def _on(device: str) -> str:
    return torch.cuda.get_device_name() if device.startswith("cuda") else hardware()


def main() -> None:
    """Measure and write the page."""
    options = _parse(sys.argv[1:])
    torch.set_num_threads(options.threads)
    folder = options.checkpoint or data_folder("baselines") / "openvla-nano" / "base"

    def create() -> OpenVLA:
        if options.random_7b:
            return random_network(openvla_7b_config(), options.device, torch.bfloat16)
        return load_checkpoint(folder, device=options.device, dtype=_dtype(options.dtype)).model

    network = create()
    modes: dict[str, ActionLogits] = {"eager": network.action_logits}
    if options.device == "cpu" and network.config.decoding == "parallel":
        modes[_RECORDED] = Traced(network, "action_logits")
    if not options.no_compile:
        compiled = create()
        compile_network(compiled)
        modes["torch.compile"] = compiled.action_logits
    title = "7B with random weights" if options.random_7b else f"`{folder.parent.name}/{folder.name}`"
    seconds = measure(network, modes, options.batch or [1, 4, 16, 32], options.rounds, options.device)
    page = report(seconds, network, title, options.threads, options.device)
    with written_whole(options.output) as path:
        path.write_text(page, encoding="utf-8")
    print(page)


def _dtype(name: str | None) -> torch.dtype | None:
    return None if name is None else getattr(torch, name)  # type: ignore[no-any-return]


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="checkpoint folder [openvla-nano's base]")
    parser.add_argument("--random-7b", action="store_true", help="the published size with random weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="[the checkpoint's]")
    parser.add_argument("--batch", type=int, action="append", help="may be given several times [1 4 16 32]")
    parser.add_argument("--rounds", type=int, default=40, help="calls per setting")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("results/openvla_throughput.md"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
