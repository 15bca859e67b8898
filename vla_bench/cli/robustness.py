"""`vla-bench robustness`: what perturbations cost a policy."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vla_bench.cli import options as asked
from vla_bench.cli.progress import progress_shown
from vla_bench.cli.tables import print_table


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("robustness")(robustness)


def robustness(
    policy: asked.Policy,
    suite: asked.Suite,
    output: asked.Output,
    checkpoint: asked.Checkpoint = None,
    task: asked.Tasks = None,
    axis: Annotated[
        list[str] | None, typer.Option(help="Axis; repeat for several. [default: all; `vla-bench list axes`]")
    ] = None,
    severity: Annotated[list[int], typer.Option(min=1, max=3, help="Repeat for several.")] = [1, 2, 3],  # noqa: B006  # typer reads the default, nobody changes it
    perturb: Annotated[
        list[str] | None, typer.Option(help="Whole perturbations in place of single axes, as `visual-2`; repeat.")
    ] = None,
    episodes: Annotated[int, typer.Option("--episodes", "-n", min=1, help="Of each task and perturbation.")] = 20,
    seed: asked.Seed = 0,
    workers: asked.Workers = None,
    rows: asked.Rows = 8,
    certificates: Annotated[
        Path | None, typer.Option(help="File of certificates to use and add to. [default: OUTPUT/certificates.sqlite]")
    ] = None,
    rendering: asked.Rendering = "fast",
    robot: asked.Robot = "panda",
) -> None:
    """Measure what perturbations cost: the same scenes clean and perturbed, paired, each certified by the expert.

    The expert first tries every episode; one that it does not solve is replaced by the next. Its certificates lie in
    OUTPUT/certificates.sqlite and serve all policies. The same command goes on where it stopped. Writes robustness.csv,
    .md and .png, and the certificates used, beside the policy's run. docs/perturbations.md describes the axes.

    Example: `vla-bench robustness -p lora-openvla --checkpoint checkpoints/x -s tabletop_object -o runs/robust -n 10`
    """
    from vla_bench.envs.perturbations import set_names
    from vla_bench.evaluation.protocol import EvaluationProtocol
    from vla_bench.evaluation.robustness import RobustnessOptions, measure_robustness
    from vla_bench.evaluation.run import RunOptions
    from vla_bench.results.robustness import robustness as made
    from vla_bench.results.robustness import robustness_table
    from vla_bench.results.robustness_page import robustness_notes, write_robustness

    run = RunOptions(
        policy=policy,
        suite=suite,
        output=output,
        checkpoint=checkpoint,
        tasks=tuple(task or ()),
        episodes=episodes,
        seed=seed,
        workers=asked.worker_count(workers),
        rows_per_worker=rows,
        protocol=EvaluationProtocol(rendering=rendering, robot=robot),
    )
    options = RobustnessOptions(run, tuple(axis or ()), tuple(severity), tuple(perturb or ()), certificates)
    names = set_names()
    with progress_shown(policy) as update:
        runs = measure_robustness(options, lambda stage, done, total: update(done, total, stage) if total else None)
    text = robustness_table(made(runs.policy), names)
    print_table(text.header, text.rows, title=text.title, words=text.left)
    console = Console(highlight=False)
    for line in (*text.footnotes, *runs.notes, *robustness_notes(runs.policy)):
        console.print(f"- {line}", soft_wrap=True, markup=False)
    written = write_robustness(runs.policy, runs.policy / "robustness", names)
    if not any(path.suffix == ".png" for path in written):
        console.print("- No figure: none of these perturbations is a single axis or a named set.")
    for path in written:
        console.print(str(path), soft_wrap=True)
