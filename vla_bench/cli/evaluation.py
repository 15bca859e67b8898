"""The commands `run` and `robustness`."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from vla_bench.cli.model_options import ModelOptions
from vla_bench.cli.reports import show_controls
from vla_bench.cli.terminal import print_table, print_text_table, show_progress
from vla_bench.core.machine import usable_cores
from vla_bench.evaluation.options import RunOptions

if TYPE_CHECKING:
    from vla_bench.evaluation.run import RunReport
    from vla_bench.evaluation.sequential_plan import SequentialPlan
    from vla_bench.evaluation.session import RunProgress


_MAX_ERROR_GROUPS = 5  # groups printed after a run


_RUN_NAMES = {
    "policy": ("--policy", "-p"),
    "suite": ("--suite", "-s"),
    "output": ("--output", "-o"),
    "tasks": ("--task", "-t"),
    "episodes": ("--episodes", "-n"),
    "workers": ("--workers", "-w"),
    "slots_per_worker": ("--rows",),
    "variants": ("--perturb",),
    "timeout_s": ("--timeout",),
}
_RUN_TEXTS = {"workers": "Worker processes. [default: one per core]"}
_RUN_PANELS = {"protocol": "Options"}
RUN_OPTIONS = ModelOptions(RunOptions, names=_RUN_NAMES, texts=_RUN_TEXTS, panels=_RUN_PANELS)
ROBUSTNESS_RUN_OPTIONS = ModelOptions(
    RunOptions,
    names=_RUN_NAMES,
    texts={**_RUN_TEXTS, "episodes": "Episodes of each task and perturbation. [default: 20]"},
    panels=_RUN_PANELS,
    without=frozenset(
        {"variants", "videos", "image_size", "batch_shape", "timeout_s", "retries", "max_errors", "protocol.latency"}
    ),
)


@RUN_OPTIONS.add_to_command
def run(
    controls: Annotated[
        bool,
        typer.Option(
            "--controls", help="Also run the controls: expert, noop, random, blank or wrong instruction, black images."
        ),
    ] = False,
    against: Annotated[
        Path | None, typer.Option(help="Run folder to compare with; stop once the comparison is decided.")
    ] = None,
    alpha: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="Probability of a wrong decision, with --against.")
    ] = 0.05,
    margin: Annotated[
        float,
        typer.Option(
            min=0.0, max=50.0, help="Also stop once the difference is within this number of percentage points."
        ),
    ] = 0.0,
    **options: Any,
) -> None:
    """Evaluate a policy on the tasks of a suite and record one ledger row per episode.

    The same command resumes an interrupted run. The records are identical for any number of workers and environments
    per worker and any interruption; where this cannot be guaranteed (on a GPU), the run and its tables report it.

    The policy card sets the execution of action chunks: `open_loop`, `receding_horizon` or `temporal_ensemble`
    (docs/policies.md).

    docs/ledger.md defines `--latency`, the scores of `--controls` and errors. Episodes that ended in an error are
    listed by kind at the end, with exit status 0; `--max-errors` consecutive policy errors stop the run with status 2.
    `--timeout` applies to each command to a worker, not to an episode or to the policy.

    With `--against`, the episodes of another run are evaluated in batches, more of them in tasks in which the policies
    differ, and the run stops as soon as one policy is better at level `--alpha`, valid at any time
    (docs/statistics.md). `--episodes` is then the maximum per task.

    Example: `vla-bench run --policy lora-openvla --checkpoint checkpoints/x --suite tabletop_object --output runs/x`
    """
    from vla_bench.envs.perturbations import Perturbation
    from vla_bench.evaluation.run import run_evaluation
    from vla_bench.evaluation.sequential_plan import sequential_plan

    options["variants"] = [str(Perturbation.parse(text)) for text in options["variants"] or ()]
    requested: RunOptions = RUN_OPTIONS.build({"workers": usable_cores()}, options)
    plan = None if against is None else sequential_plan(requested, against, alpha=alpha, margin=margin / 100)
    with show_progress(requested.policy) as update:
        report = run_evaluation(
            requested,
            lambda progress: update(progress.done, progress.total, rates_text(progress)),
            plan,
            on_note=_print_note,
        )
    print_run(report.output)
    if controls:
        _run_controls(requested, report)
    if plan is not None:
        print_decision(plan)
    if report.progress.errors:
        print_errors(report.output)
    Console().print(f"Next: vla-bench leaderboard {report.output} --output results/", highlight=False, soft_wrap=True)


def _print_note(text: str) -> None:
    Console(stderr=True, markup=False, highlight=False).print(text, style="yellow", soft_wrap=True)


def _run_controls(options: "RunOptions", report: "RunReport") -> None:
    from vla_bench.evaluation.control_runs import control_names, run_control, write_control_paths

    folders = {}
    for name in control_names():
        with show_progress(name) as update:
            folders[name] = run_control(name, options, report, lambda now: update(now.done, now.total, rates_text(now)))
    write_control_paths(options.output, folders)
    show_controls(options.output)


def rates_text(progress: "RunProgress") -> str:
    """Return speed and success of a run as short text."""
    if not progress.successes + progress.failures + progress.errors:
        return ""
    success = [f"success {progress.success_rate:.0%}"] if progress.successes + progress.failures else []
    errors = [f"{progress.errors} errors"] if progress.errors else []
    return ", ".join([*success, *errors, f"{progress.steps_per_s:.0f} steps/s"])


def print_run(folder: Path) -> None:
    """Print the leaderboard of one run."""
    from vla_bench.results.leaderboard import leaderboard
    from vla_bench.results.leaderboard_tables import full_tables
    from vla_bench.results.notes import conditions_of
    from vla_bench.results.runs import read_run

    run = read_run(folder)
    for table in full_tables(leaderboard(run.episodes), conditions_of([run])):
        print_text_table(table)


def print_errors(folder: Path) -> None:
    """Print the errors of a run by kind, and the command that shows their tracebacks."""
    from vla_bench.results.runs import error_groups, read_run

    frame = read_run(folder).episodes
    groups, console = error_groups(frame), Console(highlight=False, markup=False)
    count = sum(group.count for group in groups)
    console.print(f"{count} of {len(frame)} episodes ended in an error:", style="yellow")
    for group in groups[:_MAX_ERROR_GROUPS]:
        console.print(f"  {group.count} x {group.line}", style="yellow", soft_wrap=True)
    if more := groups[_MAX_ERROR_GROUPS:]:
        console.print(f"  {sum(group.count for group in more)} x {len(more)} other errors", style="yellow")
    shown = f"vla-bench ledger errors {quote(str(folder))} shows the tracebacks."
    console.print(f"The same command runs them again; {shown}", style="yellow", soft_wrap=True)


def print_decision(plan: "SequentialPlan") -> None:
    """Print the result of a sequential comparison by task."""
    from vla_bench.results.comparison_page import p_value_text

    decision = plan.decision
    adjusted = decision.adjusted()
    rows = [
        (task.task, str(task.pairs), str(task.wins), str(task.losses), p_value_text(adjusted[task.task]))
        for task in decision.tasks
    ]
    print_table(("task", "pairs", "wins", "losses", "p (any time, Holm)"), rows, title="sequential comparison", words=1)
    Console(highlight=False).print(plan.verdict, soft_wrap=True)


@ROBUSTNESS_RUN_OPTIONS.add_to_command
def robustness(
    axis: Annotated[
        list[str] | None, typer.Option(help="Axis; repeat for several. [default: all; `vla-bench list axes`]")
    ] = None,
    severity: Annotated[list[int], typer.Option(min=1, max=3, help="Repeat for several.")] = [1, 2, 3],  # noqa: B006  # typer only reads the default
    perturb: Annotated[
        list[str] | None,
        typer.Option(help="Perturbations instead of single axes, such as `visual-2`; repeat for several."),
    ] = None,
    certificates: Annotated[
        Path | None, typer.Option(help="File of certificates to use and extend. [default: OUTPUT/certificates.sqlite]")
    ] = None,
    **options: Any,
) -> None:
    """Measure the success lost to perturbations on paired scenes, each certified by the expert.

    The expert first runs every episode; an unsolved episode is replaced by the next one. Its certificates are stored in
    OUTPUT/certificates.sqlite and serve all policies. The same command resumes. Writes robustness.csv, .md and .png and
    the used certificates into the run folder. docs/perturbations.md describes the axes.

    Example: `vla-bench robustness -p lora-openvla --checkpoint checkpoints/x -s tabletop_object -o runs/robust -n 10`
    """
    from vla_bench.envs.perturbations import set_names
    from vla_bench.evaluation.robustness import RobustnessOptions, measure_robustness
    from vla_bench.results.robustness import read_robustness as made
    from vla_bench.results.robustness import robustness_notes, robustness_table, write_robustness

    run: RunOptions = ROBUSTNESS_RUN_OPTIONS.build({"workers": usable_cores()}, options)
    requested = RobustnessOptions(run, tuple(axis or ()), tuple(severity), tuple(perturb or ()), certificates)
    names = set_names()
    with show_progress(run.policy) as update:
        runs = measure_robustness(requested, lambda stage, done, total: update(done, total, stage) if total else None)
    text = robustness_table(made(runs.policy), names)
    print_table(text.header, text.rows, title=text.title, words=text.left)
    console = Console(highlight=False)
    for line in (*text.footnotes, *runs.notes, *robustness_notes(runs.policy)):
        console.print(f"- {line}", soft_wrap=True, markup=False)
    written = write_robustness(runs.policy, runs.policy / "robustness", names)
    if not any(path.suffix == ".png" for path in written):
        console.print("- No figure: no perturbation is a single axis or a named set.")
    for path in written:
        console.print(str(path), soft_wrap=True)
