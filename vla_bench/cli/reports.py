"""The commands `leaderboard`, `compare`, `controls`, `failures`, `latency`, `tables` and `ledger`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from vla_bench.cli.options import RankWithErrors, Run, Runs
from vla_bench.cli.terminal import print_table, print_text_table

if TYPE_CHECKING:
    from vla_bench.results.leaderboard_page import LeaderboardFiles


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more run folders.")],
    alpha: Annotated[float, typer.Option(min=1e-6, max=0.5, help="Level of the tests.")] = 0.05,
    power: Annotated[float, typer.Option(min=0.5, max=0.999, help="Power for planning episodes.")] = 0.8,
    difference: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=100.0,
            help="Difference in percentage points for planning episodes. [default: the observed one, 5]",
        ),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="CSV file of all numbers.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Markdown file of verdicts and tables.")] = None,
    latex: Annotated[Path | None, typer.Option(help="LaTeX file of the tables (booktabs).")] = None,
) -> None:
    """Compare policies on identical episodes: differences with intervals, exact tests, ranks, episodes to plan.

    Only episodes with equal suite, task, variant, index, seed, scene and protocol are compared. docs/statistics.md
    defines the numbers.

    Example: `vla-bench compare runs/a runs/b --markdown results/a_b.md`
    """
    from vla_bench.core.files import written_whole
    from vla_bench.results import comparison_page as made
    from vla_bench.results.comparison import compare as compare_runs
    from vla_bench.results.comparison_page import verdicts
    from vla_bench.results.pairing import read_paired_runs

    found = compare_runs(read_paired_runs(runs), alpha, power)
    tables = made.overview_tables(found)
    for table in tables:
        print_table(table.header, table.rows, title=table.title, words=table.left)
    console = Console(highlight=False)
    for note in dict.fromkeys(note for table in tables for note in table.footnotes):
        console.print(note, style="dim", soft_wrap=True)
    console.print(made.comparison_caption(found), style="dim", soft_wrap=True)
    for text in verdicts(found, None if difference is None else difference / 100):
        console.print(f"- {text}", soft_wrap=True)
    for path, write in (
        (csv, made.comparison_csv),
        (markdown, made.comparison_markdown),
        (latex, made.comparison_latex),
    ):
        if path is not None:
            with written_whole(path) as temporary:
                temporary.write_text(write(found), encoding="utf-8")
            console.print(str(path), soft_wrap=True)


def failures(
    run: Run,
    expert: Annotated[
        Path | None,
        typer.Option(
            help="Run of the expert on the same episodes, for path and time. [default: the control of the run]"
        ),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="CSV file of all failed episodes.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Markdown file of groups and failed episodes.")] = None,
) -> None:
    """Group failed episodes by their cause, with index and video file.

    docs/ledger.md defines the groups.

    Example: `vla-bench failures runs/mine --expert runs/expert --markdown failures.md`
    """
    from vla_bench.core.files import written_whole
    from vla_bench.results.failures import episode_table, failure_table, failures_csv, failures_page, read_failures

    report = read_failures(run, expert)
    print_text_table(failure_table(report))
    if not report.table.empty:
        print_text_table(episode_table(report))
    for path, text in ((csv, failures_csv), (markdown, failures_page)):
        if path is not None:
            with written_whole(path) as temporary:
                temporary.write_text(text([report]), encoding="utf-8")
            Console(highlight=False).print(str(path), soft_wrap=True)


def latency(
    runs: Annotated[list[Path], typer.Argument(help="Run folders that differ only in latency.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG or PDF file of the curve.")],
    markdown: Annotated[Path | None, typer.Option(help="Markdown file of the table.")] = None,
) -> None:
    """Plot the success of policies against their latency, from runs that differ only in latency.

    `vla-bench run --latency 120ms+-20` (or `120ms±20`, or `measured`) makes such runs; docs/ledger.md describes the
    behavior during the latency. The loss compared with the smallest latency is paired on the same episodes.

    Example: `vla-bench latency runs/p runs/p-100ms runs/p-200ms --output results/latency.png`
    """
    from vla_bench.core.files import written_whole
    from vla_bench.results.latency_curve import (
        latency_conditions,
        latency_page,
        latency_table,
        read_latency_curve,
        save_latency_curve,
    )

    points = read_latency_curve(runs)
    print_text_table(latency_table(points, latency_conditions(runs)))
    with written_whole(output) as temporary:
        save_latency_curve(points, temporary)
    Console().print(str(output), soft_wrap=True)
    if markdown is not None:
        with written_whole(markdown) as temporary:
            temporary.write_text(latency_page(runs), encoding="utf-8")
        Console().print(str(markdown), soft_wrap=True)


_DIFFERENT = 1  # exit status
ledger_commands = typer.Typer(no_args_is_help=True)


@ledger_commands.callback()
def _ledger() -> None:
    """Inspect the ledger of a run.

    Example: `vla-bench ledger errors runs/x`
    """


def tables(
    runs: Runs,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the tables. [default: the parent of the folder of the runs]"),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; exit status 1 if an existing table differs from the ledgers."),
    ] = False,
    rank_with_errors: RankWithErrors = False,
) -> None:
    """Regenerate every table, figure and page of some runs from their ledgers, or check the existing ones.

    The pages are leaderboard, comparison, controls, failures, robustness and latency curve, as far as the runs have
    episodes for them.

    Example: `vla-bench tables results/quickstart/runs/* --check`
    """
    from vla_bench.envs.perturbations import set_names
    from vla_bench.results.pages import stale_pages, write_pages

    folder = output or runs[0].resolve().parent.parent
    if not check:
        pages = write_pages(runs, folder, rank_with_errors=rank_with_errors, names=set_names())
        print_leaderboard(pages.leaderboard)
        for path in pages.others:
            Console().print(str(path), soft_wrap=True)
        return
    compared, stale = stale_pages(runs, folder, rank_with_errors=rank_with_errors, names=set_names())
    console = Console(highlight=False)
    for path in compared:
        console.print(f"{path}: {stale.get(path, 'equal to the ledgers')}", soft_wrap=True)
    if stale or not compared:
        console.print("There are no tables." if not compared else "Some tables differ from the ledgers.", style="red")
        raise typer.Exit(_DIFFERENT)


@ledger_commands.command("errors")
def errors(run: Run) -> None:
    """Show the episode errors of a run: count and one full traceback per kind.

    Example: `vla-bench ledger errors runs/x`
    """
    from vla_bench.results.runs import error_groups, read_run

    episodes, console = read_run(run).episodes, Console(highlight=False, markup=False)
    groups = error_groups(episodes)
    console.print(f"{sum(group.count for group in groups)} of {len(episodes)} episodes of {run} ended in an error.")
    for group in groups:
        console.print(f"\n{group.count} x {group.line}\nThe first, {group.episode}:", style="yellow", soft_wrap=True)
        console.print(group.example.rstrip(), soft_wrap=True)


def leaderboard(
    runs: Runs,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the tables and the report.")],
    rank_with_errors: RankWithErrors = False,
) -> None:
    """Write one leaderboard of several runs: CSV, Markdown, LaTeX, figure and HTML report.

    Example: `vla-bench leaderboard runs/* --output results/`
    """
    from vla_bench.results.leaderboard_page import write_leaderboard

    print_leaderboard(write_leaderboard(runs, output, rank_with_errors=rank_with_errors))


def print_leaderboard(files: "LeaderboardFiles") -> None:
    """Print the tables and the paths of the files."""
    console = Console()
    for tables in files.suites():
        for table in tables:
            print_text_table(table)
    for note in files.notes:
        console.print(f"- {note}", highlight=False)
    for path in files.paths:
        console.print(str(path), soft_wrap=True)


def show_controls(
    run: Run,
) -> None:
    """Show a run compared with its controls, with language-use and vision-use scores (docs/ledger.md).

    Example: `vla-bench controls runs/x`, after `vla-bench run ... --output runs/x --controls`
    """
    from vla_bench.results.controls import control_table, read_controls

    for report in read_controls(run):
        print_text_table(control_table(report))
