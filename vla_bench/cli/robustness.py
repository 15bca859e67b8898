"""`vla-bench robustness`: what perturbations cost a policy."""

from typing import Annotated

import typer
from rich.console import Console

from vla_bench.cli.options import (
    Checkpoint,
    Output,
    Policy,
    Rendering,
    Robot,
    Rows,
    Seed,
    Suite,
    Tasks,
    Workers,
    worker_count,
)
from vla_bench.cli.progress import progress_shown
from vla_bench.cli.tables import print_table


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("robustness")(robustness)


def robustness(
    policy: Policy,
    suite: Suite,
    output: Output,
    checkpoint: Checkpoint = None,
    task: Tasks = None,
    axis: Annotated[
        list[str] | None, typer.Option(help="Axis; repeat for several. [default: all; `vla-bench list axes`]")
    ] = None,
    severity: Annotated[list[int], typer.Option(min=1, max=3, help="Repeat for several.")] = [1, 2, 3],  # noqa: B006  # typer reads the default, nobody changes it
    perturb: Annotated[
        list[str] | None, typer.Option(help="Whole perturbations in place of single axes, as `visual-2`; repeat.")
    ] = None,
    episodes: Annotated[int, typer.Option("--episodes", "-n", min=1, help="Of each task and perturbation.")] = 20,
    seed: Seed = 0,
    workers: Workers = None,
    rows: Rows = 8,
    rendering: Rendering = "fast",
    robot: Robot = "panda",
) -> None:
    """Measure what perturbations cost: the same scenes clean and perturbed, paired, each certified by the expert.

    The expert first tries every episode; only what it solves is used. Its run lies in OUTPUT/certificates and serves
    all policies. Writes robustness.csv, .md and .png beside the policy's run. docs/perturbations.md describes the axes.

    Example: `vla-bench robustness -p lora-openvla --checkpoint checkpoints/x -s tabletop_object -o runs/robust -n 10`
    """
    from vla_bench.core.paths import written_whole
    from vla_bench.evaluation.protocol import EvaluationProtocol
    from vla_bench.evaluation.robustness import RobustnessOptions, measure_robustness
    from vla_bench.evaluation.run import RunOptions
    from vla_bench.results.robustness import robustness as made
    from vla_bench.results.robustness import robustness_table
    from vla_bench.results.robustness_figure import save_robustness
    from vla_bench.results.tables import markdown_table

    run = RunOptions(
        policy=policy,
        suite=suite,
        output=output,
        checkpoint=checkpoint,
        tasks=tuple(task or ()),
        episodes=episodes,
        seed=seed,
        workers=worker_count(workers),
        rows_per_worker=rows,
        protocol=EvaluationProtocol(rendering=rendering, robot=robot),
    )
    options = RobustnessOptions(run, tuple(axis or ()), tuple(severity), tuple(perturb or ()))
    with progress_shown(policy) as update:
        runs = measure_robustness(options, lambda stage, at: update(at.done, at.total, stage))
    table = made(runs.policy, runs.certificates)
    text = robustness_table(table)
    print_table(text.header, text.rows, title=text.title, words=text.left)
    console = Console(highlight=False)
    for line in (*text.footnotes, *runs.without):
        console.print(f"- {line}", soft_wrap=True, markup=False)
    with written_whole(runs.policy / "robustness.csv") as path:
        table.to_csv(path, index=False, float_format="%.10g", lineterminator="\n")
    with written_whole(runs.policy / "robustness.md") as path:
        notes = "\n".join(f"- {line}" for line in (*text.footnotes, *runs.without))
        path.write_text(f"# {text.title}\n\n{markdown_table(text)}\n\n{notes}\n", encoding="utf-8")
    save_robustness(table, runs.policy / "robustness.png")
    console.print(str(runs.policy / "robustness.md"), soft_wrap=True)
