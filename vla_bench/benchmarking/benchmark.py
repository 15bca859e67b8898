"""One run of the benchmark: the measures that were asked for, one after the other, and their record."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from vla_bench.benchmarking.figures import Figure, Outcome
from vla_bench.benchmarking.growth_points import Growth
from vla_bench.benchmarking.machine import software, this_machine
from vla_bench.benchmarking.measures import NotRunError, Setting, measures
from vla_bench.benchmarking.profile_parts import Profile
from vla_bench.benchmarking.record import Record
from vla_bench.benchmarking.stock import peers

OnProgress = Callable[[int, int, str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class BenchmarkOptions:
    """What to measure and how thoroughly."""

    only: tuple[str, ...] = ()  # none: every measure
    quick: bool = False  # leave out what takes long, unless it is asked for
    setting: Setting = field(default_factory=Setting)
    profile: bool = False
    growth: bool = False
    measured: bool = True  # whether to take the measures at all, besides profile and growth

    def names(self) -> tuple[str, ...]:
        """Return the measures to take; raise `UnknownNameError` for one that does not exist."""
        for name in self.only:
            measures[name]
        if not self.measured:
            return ()
        if self.only:
            return tuple(name for name in measures if name in self.only)
        return tuple(name for name, one in measures.items() if one.in_quick or not self.quick)


def run_benchmark(
    options: BenchmarkOptions, command: str, on_progress: OnProgress = lambda done, total, text: None
) -> Record:
    """Measure and return the record. A measure that fails is reported as not run, and why; the others go on."""
    names, outcomes = options.names(), []
    for name in options.setting.peers:
        peers[name]
    total = len(names) + options.profile + options.growth
    for done, name in enumerate(names):
        on_progress(done, total, measures[name].title)
        outcomes.append(take(name, options.setting))
    profiles: tuple[Profile, ...] = ()
    growths: tuple[Growth, ...] = ()
    if options.profile:
        from vla_bench.benchmarking.profiling import profile_engines

        on_progress(len(names), total, "profile")
        profiles = _besides("profile", profile_engines, options.setting, outcomes)
    if options.growth:
        from vla_bench.benchmarking.growth import measure_growth

        on_progress(total - 1, total, "growth")
        growths = _besides("growth", measure_growth, options.setting, outcomes)
    on_progress(total, total, "")
    return Record(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        command=command,
        machine=this_machine(),
        software=software(),
        how=_how(options.setting),
        outcomes=tuple(outcomes),
        profiles=profiles,
        growths=growths,
    )


def take(name: str, setting: Setting) -> Outcome:
    """Take one measure in a folder of its own that is removed afterwards."""
    measure, began = measures[name], time.perf_counter()
    notes: list[str] = []
    with _folder() as folder:
        mine = replace(setting, workspace=Path(folder), note=notes.append)
        figures: tuple[Figure, ...] = ()
        not_run, failed = "", False
        try:
            figures = tuple(measure.take(mine))
        except NotRunError as reason:
            not_run = str(reason)
        except Exception as error:  # one measure must not cost the others, which took minutes
            not_run, failed = _failure(error), True
    return Outcome(
        measure=name,
        title=measure.title,
        figures=figures,
        not_run=not_run,
        failed=failed,
        notes=tuple(notes),
        elapsed_s=round(time.perf_counter() - began, 1),
    )


def _besides(name: str, what: Callable[[Setting], T], setting: Setting, outcomes: list[Outcome]) -> T | tuple[()]:
    """Take profile or growth as `take` does a measure; a failure joins the outcomes."""
    with _folder() as folder:
        try:
            return what(replace(setting, workspace=Path(folder)))
        except Exception as error:
            outcomes.append(Outcome(measure=name, title=name.capitalize(), not_run=_failure(error), failed=True))
            return ()


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="vla-bench-benchmark-")


def _failure(error: Exception) -> str:
    return f"it failed: {type(error).__name__}: {error}"


def _how(setting: Setting) -> str:
    scale = "" if setting.scale == 1.0 else f", {setting.scale:g} of the usual numbers of episodes and steps"
    return f"{setting.turns} turns of {setting.seconds:g} s each{scale}; runs with {setting.workers} workers"
