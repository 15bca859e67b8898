"""Evaluate the quickstart's policy with controls and at several latencies, and compare it with the expert.

The fine-tuned checkpoint is read from a quickstart folder, which `vla-bench quickstart --output QUICKSTART` writes.
The ledgers are written to OUTPUT/controls_and_latency/runs, the pages (controls, failures, latency) next to that
folder. `vla-bench tables OUTPUT/controls_and_latency/runs/* --check` checks them.
"""

import argparse
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from vla_bench.evaluation.control_runs import control_names, run_control, write_control_paths
from vla_bench.evaluation.options import RunOptions
from vla_bench.evaluation.protocol import EvaluationProtocol
from vla_bench.evaluation.run import RunReport, run_evaluation
from vla_bench.quickstart import read_recipe
from vla_bench.results.pages import write_pages

_FOLDER = "controls_and_latency"
_PAGES = ("controls.md", "failures.md", "failures.csv", "latency.md", "latency.png")


def main() -> None:
    """Run the missing evaluations and write the pages."""
    options = _parse(sys.argv[1:])
    recipe, runs = read_recipe(), options.output / _FOLDER / "runs"
    requested = RunOptions(
        policy=recipe.evaluation.tuned,
        suite=recipe.suite,
        output=runs / recipe.evaluation.tuned,
        checkpoint=options.quickstart / "checkpoints" / "lora",
        tasks=recipe.tasks,
        episodes=options.episodes,
        seed=options.seed,
        workers=options.workers,
    )
    report = _timed("own", requested)
    folders = {}
    for name in control_names():
        begun = time.monotonic()
        folders[name] = run_control(name, requested, report)
        _print_time(name, begun)
    write_control_paths(requested.output, folders)
    expert = replace(requested, policy="expert", checkpoint=None, output=runs / "expert")
    _timed("expert", expert)
    for latency in options.latencies:
        protocol = EvaluationProtocol(latency=latency)
        for own in (requested, expert):
            name = f"{own.output.name}-{protocol.latency}"
            _timed(name, replace(own, output=runs / name, protocol=protocol))
    _write(sorted(path for path in runs.iterdir() if not path.name.startswith(".")), options.output / _FOLDER)


def _timed(name: str, options: RunOptions) -> RunReport:
    begun = time.monotonic()
    report = run_evaluation(options)
    _print_time(name, begun)
    return report


def _print_time(name: str, begun: float) -> None:
    print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)


def _write(runs: list[Path], output: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        for path in write_pages(runs, Path(temporary)).paths:
            if path.name in _PAGES:
                shutil.copyfile(path, output / path.name)
                print(output / path.name)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("quickstart", type=Path, help="folder written by `vla-bench quickstart`")
    parser.add_argument("--episodes", type=int, default=20, help="episodes per task")
    parser.add_argument("--latencies", nargs="+", default=["50ms", "100ms", "200ms"], help="in addition to no latency")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("results"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
