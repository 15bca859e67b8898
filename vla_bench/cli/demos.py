"""`vla-bench replay` and `vla-bench render`: recorded demonstrations back in the simulator."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from vla_bench.cli.options import Workers, worker_count
from vla_bench.cli.progress import progress_shown
from vla_bench.cli.tables import print_table

if TYPE_CHECKING:
    from vla_bench.demos.replay import Replayed, ReplayReport

Demos = Annotated[Path, typer.Argument(help="HDF5 file that `vla-bench generate-demos` or `record` wrote.")]


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("replay")(replay)
    app.command("render")(render)


def replay(
    demos: Demos,
    demo: Annotated[list[str] | None, typer.Option(help="Demonstration; repeat for several. [default: all]")] = None,
    workers: Workers = None,
) -> None:
    """Run recorded actions again from the recorded start, and say how many demonstrations still succeed.

    Exit status 1 if one that succeeded does not.

    Example: `vla-bench replay demos.hdf5`
    """
    from vla_bench.demos.replay import replay as run_again

    with progress_shown("replayed") as update:
        report = run_again(demos, names=demo or None, workers=worker_count(workers), on_progress=update)
    _print_replayed(report)
    if not report.passed:
        raise typer.Exit(1)


def render(
    demos: Demos,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write; one that was begun is continued.")],
    cameras: Annotated[str | None, typer.Option(help="Cameras, with commas. [default: those of the file]")] = None,
    size: Annotated[int | None, typer.Option(min=16, help="Pixels. [default: those of the file]")] = None,
    depth: Annotated[bool | None, typer.Option("--depth/--no-depth", help="Depth too, in metres.")] = None,
    rendering: Annotated[
        Literal["fast", "faithful"] | None, typer.Option(help="Quality of the images. [default: that of the file]")
    ] = None,
    workers: Workers = None,
) -> None:
    """Draw the observations of recorded states anew, without planning or simulating anything.

    Example: `vla-bench render demos.hdf5 --cameras agentview,wrist --size 128 --depth --output new.hdf5`
    """
    from vla_bench.demos.rerendering import RenderOptions
    from vla_bench.demos.rerendering import render as draw_again

    options = RenderOptions(
        source=demos,
        output=output,
        cameras=None if cameras is None else tuple(name.strip() for name in cameras.split(",") if name.strip()),
        image_size=size,
        depth=depth,
        rendering=rendering,
        workers=worker_count(workers),
    )
    with progress_shown("drawn") as update:
        count = draw_again(options, update)
    Console(highlight=False).print(f"{output}: {count} demonstrations", soft_wrap=True)


def _print_replayed(report: "ReplayReport") -> None:
    """Print what differs, row by row, and how many still succeed."""
    rows = [_row(row) for row in report.rows if not (row.exact and row.as_recorded)]
    if rows:
        titles = (
            "demonstration",
            "task",
            "recorded",
            "replayed",
            "differs from step",
            "state off by",
            "hand off by",
            "",
        )
        print_table(titles, rows)
    console = Console(highlight=False)
    style = "green" if report.passed else "red"
    console.print(f"{report.path}: {report.succeeded} of {report.expected} still succeed.", style=style, soft_wrap=True)
    console.print(f"{report.exact} of {len(report.rows)} reach every recorded state bit for bit.", soft_wrap=True)


def _row(row: "Replayed") -> tuple[str, ...]:
    outcome = {True: "success", False: "failure"}
    return (
        row.name,
        row.task_id,
        outcome[row.recorded_success],
        outcome[row.success],
        "never" if row.differs_from is None else f"{row.differs_from} of {row.steps}",
        f"{row.largest_difference:.1e}",
        f"{1000 * row.gripper_off_m:.2f} mm",
        "; ".join(row.notes),
    )
