"""Run measures one after another and collect them in a benchmark record."""

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from vla_bench.core.errors import VlaBenchError
from vla_bench.performance.hardware import software_versions, this_machine
from vla_bench.performance.peers import peers
from vla_bench.performance.record import BenchmarkRecord, MeasureResult, Metric, ScalingCurve, StepProfile
from vla_bench.performance.registry import MeasureSettings, NotRunError, measures

OnProgress = Callable[[int, int, str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class BenchmarkOptions:
    """Selection of measures and amount of work."""

    only: tuple[str, ...] = ()  # empty: every measure
    quick: bool = False  # omit slow measures unless they are listed in `only`
    setting: MeasureSettings = field(default_factory=MeasureSettings)
    profile: bool = False
    growth: bool = False
    measured: bool = True  # False: profile and scaling only

    def names(self) -> tuple[str, ...]:
        """Return the measures to run; raise `UnknownNameError` for a name that does not exist."""
        for name in self.only:
            measures[name]
        if not self.measured:
            return ()
        if self.only:
            return tuple(name for name in measures if name in self.only)
        return tuple(name for name, one in measures.items() if one.in_quick or not self.quick)


def run_benchmark(
    options: BenchmarkOptions, command: str, on_progress: OnProgress = lambda done, total, text: None
) -> BenchmarkRecord:
    """Run the measures and return the record. A failed measure is reported with its error; the others still run."""
    names, outcomes = options.names(), []
    for name in options.setting.peers:
        peers[name]
    total = len(names) + options.profile + options.growth
    for done, name in enumerate(names):
        on_progress(done, total, measures[name].title)
        outcomes.append(run_measure(name, options.setting))
    profiles: tuple[StepProfile, ...] = ()
    growths: tuple[ScalingCurve, ...] = ()
    if options.profile:
        from vla_bench.performance.profiling import profile_engines

        on_progress(len(names), total, "profile")
        profiles = _run_optional("profile", profile_engines, options.setting, outcomes)
    if options.growth:
        from vla_bench.performance.scaling import measure_scaling

        on_progress(total - 1, total, "scaling")
        growths = _run_optional("scaling", measure_scaling, options.setting, outcomes)
    on_progress(total, total, "")
    return BenchmarkRecord(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        command=command,
        machine=this_machine(),
        software=software_versions(),
        how=_settings_text(options.setting),
        outcomes=tuple(outcomes),
        profiles=profiles,
        growths=growths,
    )


def run_measure(name: str, setting: MeasureSettings) -> MeasureResult:
    """Run one measure in a temporary folder."""
    measure, began = measures[name], time.perf_counter()
    notes: list[str] = []
    with _temporary_folder() as folder:
        mine = replace(setting, workspace=Path(folder), note=notes.append)
        metrics: tuple[Metric, ...] = ()
        not_run, failed = "", False
        try:
            metrics = tuple(measure.take(mine))
        except NotRunError as reason:
            not_run = str(reason)
        except Exception as error:  # a failed measure must not discard the others, which take minutes
            not_run, failed = _failure_text(error), True
    return MeasureResult(
        measure=name,
        title=measure.title,
        figures=metrics,
        not_run=not_run,
        failed=failed,
        notes=tuple(notes),
        elapsed_s=round(time.perf_counter() - began, 1),
    )


def _run_optional(
    name: str, what: Callable[[MeasureSettings], T], setting: MeasureSettings, outcomes: list[MeasureResult]
) -> T | tuple[()]:
    """Run the profile or the scaling like a measure; a failure is appended to `outcomes`."""
    with _temporary_folder() as folder:
        try:
            return what(replace(setting, workspace=Path(folder)))
        except Exception as error:
            outcomes.append(
                MeasureResult(measure=name, title=name.capitalize(), not_run=_failure_text(error), failed=True)
            )
            return ()


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="vla-bench-benchmark-")


def _failure_text(error: Exception) -> str:
    return f"the measure failed with {type(error).__name__}: {error}"


def _settings_text(setting: MeasureSettings) -> str:
    scale = "" if setting.scale == 1.0 else f", {setting.scale:g} of the default numbers of episodes and steps"
    return f"{setting.turns} turns of {setting.seconds:g} s each{scale}; runs with {setting.workers} workers"


class PeerOptionError(VlaBenchError):
    """A `--peer` option without a usable Python interpreter."""


def parse_peers(texts: Sequence[str]) -> dict[str, str]:
    """Return the Python interpreter of each peer from options `NAME=PYTHON`.

    Raise `UnknownNameError` for an unknown peer and `PeerOptionError` for a missing program.
    """
    found = {}
    for text in texts:
        name, _, python = text.partition("=")
        peers[name]
        if not python or shutil.which(python) is None:
            raise PeerOptionError(
                f"--peer {text}: {python or 'an empty path'} is not a program. Expected {name}=/path/to/python, the "
                f"Python of an environment in which {peers[name].distributions[0]} is installed."
            )
        found[name] = python
    return found
