"""Runs under control conditions and with reference policies, on the same episodes as a given run."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from vla_bench.core.files import written_whole
from vla_bench.evaluation.controls import controls
from vla_bench.evaluation.options import RunOptions
from vla_bench.evaluation.plan import FixedPlan
from vla_bench.evaluation.run import RunReport, run_evaluation, with_recorded_latency
from vla_bench.evaluation.session import RunProgress
from vla_bench.results.controls import CONTROLS_FILE, REFERENCE_POLICIES

_SHARED_FOLDER = ".controls"  # next to the runs; hidden, so that `runs/*` matches runs only


def control_names() -> tuple[str, ...]:
    """Return the names of all controls, the reference policies first."""
    return (*REFERENCE_POLICIES, *controls)


def run_control(
    name: str,
    options: RunOptions,
    run: RunReport,
    on_progress: Callable[[RunProgress], None] = lambda progress: None,
) -> Path:
    """Run one control condition on the episodes of `run`, which was made with `options`, and return its folder.

    The latency is the one that the run measured. The reference policies (expert, random, noop) do not depend on the
    policy, so runs in the same parent folder share their control runs.
    """
    options = with_recorded_latency(options, run.info)
    folder = _shared_folder(options) / name if name in REFERENCE_POLICIES else options.output / "controls" / name
    episodes = sorted(record.identity for record in run.records)
    run_evaluation(_options_for(name, options, folder), on_progress, FixedPlan(episodes))
    return folder


def write_control_paths(output: Path, folders: Mapping[str, Path]) -> None:
    """Write the relative path of each control run into the folder of the run."""
    with written_whole(output / CONTROLS_FILE) as temporary:
        paths = {name: os.path.relpath(folder, output) for name, folder in folders.items()}
        temporary.write_text(json.dumps(paths, indent=2) + "\n", encoding="utf-8")


def _options_for(name: str, options: RunOptions, folder: Path) -> RunOptions:
    if name in REFERENCE_POLICIES:
        return replace(
            options, policy=name, checkpoint=None, output=folder, batch_shape=None, image_size=None, videos=0
        )
    return replace(options, output=folder, control=name, videos=0)


def _shared_folder(options: RunOptions) -> Path:
    what = json.dumps([options.suite, options.seed, asdict(options.protocol)], sort_keys=True)
    name = f"{options.suite}_seed{options.seed}_{hashlib.sha256(what.encode()).hexdigest()[:8]}"
    return options.output.parent / _SHARED_FOLDER / name
