"""`vla-bench branch`: let another policy go on from a step of a recorded episode."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vla_bench.cli.options import Checkpoint, Episode, Policy, Run
from vla_bench.cli.tables import print_table


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("branch")(branch)


def branch(
    run: Run,
    episode: Episode,
    at: Annotated[int, typer.Option(min=0, help="Step from which the other policy acts.")],
    policy: Policy = "expert",
    checkpoint: Checkpoint = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Keep it as a run, with a video.")] = None,
) -> None:
    """Run a recorded episode up to a step, then let another policy go on: was it lost by then?

    The whole episode is run again first: where its scene or actions are not those of the ledger, nothing is branched.
    Steps are the ledger's, those that pass while a policy with `--latency` thinks included.

    Example: `vla-bench branch results/quickstart/runs/lora-openvla red_cube_on_plate/3 --at 40 --policy expert`
    """
    from vla_bench.evaluation.branching import branch_episode

    found = branch_episode(run, episode, at, policy, checkpoint=checkpoint, output=output)
    names = ("outcome", "reward", "steps", "progress", "phase", "final_progress", "final_phase")
    rows = [(name, _text(getattr(found.recorded, name)), _text(getattr(found.branched, name))) for name in names]
    title = f"{found.recorded.identity.name}, {policy} from step {at}"
    print_table(("", "recorded", "branched"), rows, title=title)
    if found.branched.error:
        Console().print(found.branched.error, style="dim", markup=False)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
