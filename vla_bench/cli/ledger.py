"""`vla-bench rerun`, `vla-bench tables` and `vla-bench ledger`: what a reader does with a ledger of someone else."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vla_bench.cli.options import Episode, RankWithErrors, Run, Runs
from vla_bench.cli.tables import print_table

_DIFFERENT = 1  # exit status
ledger_commands = typer.Typer(help="Look after a run's ledger.", no_args_is_help=True)


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("rerun")(rerun)
    app.command("tables")(tables)
    app.add_typer(ledger_commands, name="ledger")


def rerun(
    run: Run,
    episode: Episode,
    policy: Annotated[str | None, typer.Option("--policy", "-p", help="[default: what the run was made with]")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Where the run's checkpoint lies now.")] = None,
) -> None:
    """Run one recorded episode again and compare: scene, actions and outcome. Ends with 1 if they are not the same.

    Example: `vla-bench rerun results/quickstart/runs/expert red_cube_on_plate/3`
    """
    from vla_bench.evaluation.rerun import COMPARED, rerun_episode

    found = rerun_episode(run, episode, policy=policy, checkpoint=checkpoint)
    rows = []
    for name in COMPARED:
        before, now = str(getattr(found.recorded, name)), str(getattr(found.again, name))
        rows.append((name, before, now, "different" if name in found.different else ""))
    print_table(("", "recorded", "now", ""), rows, title=found.episode.name)
    console = Console(highlight=False)
    for line in found.circumstances:
        console.print(f"- {line}", soft_wrap=True)
    if found.same:
        console.print("The same scene, actions and outcome.", style="green")
        return
    if found.again.error:
        console.print(found.again.error, style="dim", markup=False)
    console.print("Not the same.", style="red")
    if found.rounded_otherwise:
        console.print(
            "Scene, outcome and number of steps are the same, the actions are not bit for bit. Recorded on "
            f"{found.processors[0]}, run now on {found.processors[1]}: another processor rounds differently, which may "
            "be the reason. On a processor of the recorded kind the actions can be checked.",
            soft_wrap=True,
        )
    raise typer.Exit(_DIFFERENT)


def tables(
    runs: Runs,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the tables. [default: beside the runs' folder]")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; end with 1 if a table there is not what the ledgers make.")
    ] = False,
    rank_with_errors: RankWithErrors = False,
) -> None:
    """Make every table, figure and page of some runs again from their ledgers, or check those that are there.

    That is the leaderboard, the comparison of its runs, their controls, failures and robustness, and the curve of runs
    that differ in their latency: whatever the runs have the episodes for.

    Example: `vla-bench tables results/quickstart/runs/* --check`
    """
    from vla_bench.cli.evaluate import print_leaderboard
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
        console.print(f"{path}: {stale.get(path, 'as the ledgers make it')}", soft_wrap=True)
    if stale or not compared:
        console.print("No table is there." if not compared else "Not what the ledgers make.", style="red")
        raise typer.Exit(_DIFFERENT)


@ledger_commands.command("errors")
def errors(run: Run) -> None:
    """Show the errors that episodes of a run ended in: how often each, and the whole traceback of the first.

    Example: `vla-bench ledger errors runs/x`
    """
    from vla_bench.results.error_groups import error_groups
    from vla_bench.results.runs import read_run

    episodes, console = read_run(run).episodes, Console(highlight=False, markup=False)
    groups = error_groups(episodes)
    console.print(f"{sum(group.count for group in groups)} of {len(episodes)} episodes of {run} ended in an error.")
    for group in groups:
        console.print(f"\n{group.count} x {group.line}\nThe first, {group.episode}:", style="yellow", soft_wrap=True)
        console.print(group.example.rstrip(), soft_wrap=True)


@ledger_commands.command("recover")
def recover(run: Run) -> None:
    """Save what is whole of a damaged ledger in a new one; the damaged file is kept beside it.

    Example: `vla-bench ledger recover runs/x`
    """
    from vla_bench.results.recovery import recover_ledger

    recovery, console = recover_ledger(run), Console(highlight=False)
    if not recovery.damage:
        console.print(
            f"The ledger of {run} is whole: {recovery.recovered} episodes. Nothing was changed.", soft_wrap=True
        )
        return
    console.print(f"Damage: {recovery.damage}.", soft_wrap=True)
    console.print(f"Recovered {recovery.recovered} episodes; the damaged file is {recovery.kept}.", soft_wrap=True)
    for line in recovery.lost:
        console.print(f"- lost or not run yet: {line}", soft_wrap=True)
    if recovery.lost:
        console.print("The command that made the run runs these again.")
