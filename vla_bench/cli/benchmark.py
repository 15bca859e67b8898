"""The command `benchmark`."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from vla_bench.cli.options import Workers, worker_count
from vla_bench.cli.terminal import print_table, show_progress

if TYPE_CHECKING:
    from vla_bench.performance.benchmark import BenchmarkOptions
    from vla_bench.performance.record import BenchmarkRecord
    from vla_bench.results.text_tables import TextTable


_REGRESSION_STATUS = 1  # exit status of a regression
_RESULTS = Path("results")
_STOPPED_MESSAGE = "Interrupted. An interrupted benchmark stores no metrics; record and page are unchanged."


def benchmark(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for performance.md and .json. [default: results, for a complete run]"
        ),
    ] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Run only this measure; repeat for several.")] = None,
    show: Annotated[bool, typer.Option("--list", help="List measures and peers without measuring.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Short measurements, a minute or two in total.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Run all 500 episodes instead of extrapolating.")] = False,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Run the GPU measures on the CPU with a small network.")
    ] = False,
    peer: Annotated[
        list[str] | None,
        typer.Option(help="Also measure this peer: `metaworld=/path/to/its/python`; repeat for several."),
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Also profile a step.")] = False,
    growth: Annotated[bool, typer.Option("--growth", help="Also measure the growth of cost with size.")] = False,
    measured: Annotated[
        bool, typer.Option("--measures/--no-measures", help="Run the measures, or only profile and growth.")
    ] = True,
    check: Annotated[bool, typer.Option("--check", help="Compare with the record; exit status 1 if worse.")] = False,
    record: Annotated[Path, typer.Option(help="Record for --check.")] = _RESULTS / "performance.json",
    tolerance: Annotated[
        float, typer.Option(min=1, max=90, help="Percentage by which a median may be worse in --check.")
    ] = 25.0,
    turns: Annotated[int | None, typer.Option(min=1, help="Alternating repetitions per measure. [default: 5]")] = None,
    workers: Workers = None,
) -> None:
    """Measure speed and memory against unmodified peers in the same run, and write `results/performance.md`.

    Compared workloads alternate, so that ratios are meaningful on a busy machine. robosuite is measured from the
    installed package, other peers in their own Python, given by `--peer`.

    Example: `vla-bench benchmark --check --only physics --only tabletop-images`
    """
    from vla_bench.performance.benchmark import run_benchmark

    if show:
        _print_measures()
        return
    options = _options(only, quick, full, rehearse, peer, profile, growth, measured, turns, worker_count(workers))
    then = _earlier_record(record) if check else None
    try:
        with show_progress("benchmark") as update:
            now = run_benchmark(options, _command(), update)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_STOPPED_MESSAGE) from None
    _print_record(now)
    whole = not (only or quick or check) and measured
    if output is not None or whole:
        _write_results(now, output or _RESULTS)
    if then is not None and not _check_passed(now, then, tolerance / 100):
        raise typer.Exit(_REGRESSION_STATUS)
    if any(outcome.failed for outcome in now.outcomes):
        raise typer.Exit(_REGRESSION_STATUS)


def _options(
    only: Sequence[str] | None,
    quick: bool,
    full: bool,
    rehearse: bool,
    peer: Sequence[str] | None,
    profile: bool,
    growth: bool,
    measured: bool,
    turns: int | None,
    workers: int,
) -> "BenchmarkOptions":
    from dataclasses import replace

    from vla_bench.performance.benchmark import BenchmarkOptions, parse_peers
    from vla_bench.performance.registry import MeasureSettings

    setting = MeasureSettings(full=full, rehearse=rehearse, workers=workers, peers=parse_peers(peer or ()))
    setting = setting.quick() if quick else setting
    setting = setting if turns is None else replace(setting, turns=turns)
    options = BenchmarkOptions(tuple(only or ()), quick, setting, profile, growth, measured)
    options.names()  # raises for an unknown name before measuring
    return options


def _earlier_record(path: Path) -> "BenchmarkRecord":
    from vla_bench.performance.record import read_record

    return read_record(path)


def _print_measures() -> None:
    from vla_bench.performance.peers import peers
    from vla_bench.performance.registry import measures

    print_table(("measure", "what"), [(name, one.title) for name, one in measures.items()])
    print_table(("peer", "what"), [(name, one.title) for name, one in peers.items()])


def _print_record(record: "BenchmarkRecord") -> None:
    from vla_bench.performance.report import metrics_table, profile_table, scaling_table, targets_table

    tables = [metrics_table(record), targets_table(record), *map(profile_table, record.profiles)]
    for table in [*tables, scaling_table(record.growths)]:
        _print_table(table)
    console = Console(highlight=False)
    for outcome in record.outcomes:
        if outcome.not_run:
            console.print(f"{outcome.measure}: not run: {outcome.not_run}", markup=False, soft_wrap=True)
        for note in outcome.notes:
            console.print(note, markup=False, soft_wrap=True, style="dim")
    console.print(f"{record.machine}; {record.how}", markup=False, soft_wrap=True)


def _write_results(record: "BenchmarkRecord", folder: Path) -> None:
    from vla_bench.performance.report import write_report

    paths = [record.write(folder), write_report(record, folder)]
    if record.growths:
        from vla_bench.performance.report import save_scaling_plots

        paths += save_scaling_plots(record.growths, folder)
    for path in paths:
        Console().print(str(path), soft_wrap=True)


def _check_passed(now: "BenchmarkRecord", then: "BenchmarkRecord", tolerance: float) -> bool:
    from vla_bench.performance.regressions import check_regressions, regression_table

    result, console = check_regressions(now, then, tolerance), Console(highlight=False)
    _print_table(regression_table(result))
    if not result.same_class:
        console.print(
            f"Times are not compared, because the record is from {then.machine}. Ratios and memory are.", soft_wrap=True
        )
    for name in result.missing:
        console.print(f"{name} is in the record but was not measured now.", style="red", soft_wrap=True)
    worse = len(result.regressions)
    verdict = "Nothing is worse than the record." if result.passed else f"{worse} of {len(result.comparisons)} worse."
    console.print(verdict, style="green" if result.passed else "red")
    return result.passed


def _print_table(table: "TextTable") -> None:
    if table.rows:
        print_table(table.header, table.rows, title=table.title, words=table.left)


def _command() -> str:
    """Return the command line without folders of the user."""
    return re.sub(r"(--peer[ =][\w-]+=)\S+", r"\1PYTHON", " ".join(["vla-bench", *sys.argv[1:]]))
