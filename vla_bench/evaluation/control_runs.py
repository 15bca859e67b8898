"""Runs under control conditions and with reference policies, on the same episodes as a given run."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.files import written_whole
from vla_bench.evaluation.controls import controls
from vla_bench.evaluation.plan import FixedPlan
from vla_bench.evaluation.run import RunOptions, run_evaluation, with_recorded_latency
from vla_bench.evaluation.session import RunProgress
from vla_bench.results.controls import CONTROLS_FILE, REFERENCE_POLICIES
from vla_bench.results.ledger import LEDGER_NAME, read_ledger
from vla_bench.results.runs import episode_records

_SHARED_FOLDER = ".controls"  # beside the runs; hidden, so that `runs/*` means the runs


def control_names() -> tuple[str, ...]:
    """Return the names of all controls, the policies to compare with first."""
    return (*REFERENCE_POLICIES, *controls)


def run_control(
    name: str, options: RunOptions, on_progress: Callable[[RunProgress], None] = lambda progress: None
) -> Path:
    """Run one control for the run of `options` and return its folder.

    It meets the episodes that the run has met, at the latency that the run measured. Expert, random and no motion know
    nothing of the policy: runs that lie beside each other share them.
    """
    options = with_recorded_latency(options)
    folder = _shared_folder(options) / name if name in REFERENCE_POLICIES else options.output / "controls" / name
    run_evaluation(_options_for(name, options, folder), on_progress, FixedPlan(_recorded_episodes(options.output)))
    return folder


def write_control_paths(output: Path, folders: Mapping[str, Path]) -> None:
    """Write in the run's folder where each of its controls lies."""
    with written_whole(output / CONTROLS_FILE) as temporary:
        places = {name: os.path.relpath(folder, output) for name, folder in folders.items()}
        temporary.write_text(json.dumps(places, indent=2) + "\n", encoding="utf-8")


def _recorded_episodes(output: Path) -> list[EpisodeIdentity]:
    return sorted(record.identity for record in episode_records(read_ledger(output / LEDGER_NAME)))


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
