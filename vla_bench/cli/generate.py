"""`vla-bench generate-demos` and `vla-bench inspect`: demonstrations."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from vla_bench.cli.options import Output, Seed, Workers, worker_count
from vla_bench.cli.progress import progress_shown
from vla_bench.cli.tables import print_table

if TYPE_CHECKING:
    from vla_bench.demos import CollectProgress, CollectReport


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("generate-demos")(generate_demos)
    app.command("inspect")(inspect_demos)


def generate_demos(
    output: Output,
    suite: Annotated[
        list[str] | None, typer.Option("--suite", "-s", help="Suite; repeat for several, or `all`.")
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option("--task", "-t", help="Task, or suite.task; repeat for several. [default: all of the suites]"),
    ] = None,
    episodes: Annotated[int, typer.Option("--episodes", "-n", min=1, help="Successes of each task.")] = 50,
    seed: Seed = 0,
    workers: Workers = None,
    camera: Annotated[list[str], typer.Option(help="Camera to record; repeat for several.")] = ["agentview", "wrist"],  # noqa: B006  # typer reads the default, nobody changes it
    image_size: Annotated[int, typer.Option(min=16, help="Width and height of the images in pixels.")] = 224,
    depth: Annotated[bool, typer.Option("--depth", help="Record depth too, in metres.")] = False,
    rendering: Annotated[Literal["fast", "faithful"], typer.Option(help="Quality of the images.")] = "fast",
    robot: Annotated[str, typer.Option(help="Robot that acts.")] = "panda",
    keep_failures: Annotated[bool, typer.Option("--keep-failures", help="Keep failed attempts too.")] = False,
    noise: Annotated[
        Literal["none", "bursts", "drift"],
        typer.Option(help="Disturb the expert, so that it shows recoveries; its clean actions are what is recorded."),
    ] = "none",
    noise_translation: Annotated[float, typer.Option(help="Strength of the noise; 1 is 5 cm a step.")] = 0.3,
    noise_yaw: Annotated[float, typer.Option(help="Strength of the noise; 1 is 0.5 rad a step.")] = 0.1,
) -> None:
    """Make demonstrations with scripted experts.

    Ctrl-C or a kill keeps every finished demonstration; the same command goes on where it stopped.

    Example: `vla-bench generate-demos --suite tabletop_object --episodes 50 --output demos.hdf5`

    Of several suites: `vla-bench generate-demos -s tabletop_object -t robosuite.lift --output demos.hdf5`
    """
    from vla_bench.demos import CollectOptions, NoiseOptions, collect
    from vla_bench.tasks import suites

    options = CollectOptions(
        suites=suites() if suite == ["all"] else tuple(suite or ()),
        output=output,
        tasks=tuple(task or ()),
        episodes=episodes,
        seed=seed,
        workers=worker_count(workers),
        image_size=image_size,
        cameras=tuple(camera),
        depth=depth,
        rendering=rendering,
        robot=robot,
        keep_failures=keep_failures,
        noise=None if noise == "none" else NoiseOptions(noise_translation, noise_yaw, noise),
    )
    with progress_shown("demonstrations") as update:
        report = collect(options, lambda progress: update(progress.finished, progress.wanted, rates_of(progress)))
    print_collected(report)


def inspect_demos(
    demos: Annotated[Path, typer.Argument(help="HDF5 file (ours, robomimic's, LIBERO's) or LeRobot folder.")],
    sheet: Annotated[
        Path | None, typer.Option(help="Where to write the contact sheet. [default: beside the file, .png]")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Demonstrations on the sheet.")] = 20,
    frames: Annotated[int, typer.Option(min=2, help="Moments of each.")] = 8,
    videos: Annotated[Path | None, typer.Option(help="Folder for an mp4 of each demonstration.")] = None,
) -> None:
    """Summarise demonstrations and, of a file of ours, write a contact sheet.

    Example: `vla-bench inspect demos.hdf5 --videos videos/`
    """
    from vla_bench.demos import summarise, write_contact_sheet, write_videos
    from vla_bench.demos.source_summary import source_lines
    from vla_bench.demos.sources import open_source

    if demos.exists():
        with open_source(demos) as source:
            if source.facts.format != "ours":
                typer.echo("\n".join(source_lines(source)))
                return
    typer.echo("\n".join(summarise(demos).lines()))
    picture = write_contact_sheet(demos, sheet or demos.with_suffix(".png"), rows=rows, frames=frames)
    typer.echo(f"contact sheet   {picture}")
    if videos is not None:
        typer.echo(f"videos          {len(write_videos(demos, videos))} in {videos}")


def rates_of(progress: "CollectProgress") -> str:
    """Return a collection's speed and success in a few words."""
    return f"{progress.per_minute:.0f} a minute, success {progress.success_rate:.0%}" if progress.attempts else ""


def print_collected(report: "CollectReport") -> None:
    """Print what a collection ended with."""
    rows = [(task.task, str(task.successes), f"{task.successes / task.attempts:.0%}") for task in report.tasks]
    print_table(("task", "demonstrations", "expert success"), rows, words=1)
    console = Console()
    for death in report.deaths:
        console.print(death, style="yellow")
    size = f"{report.size_bytes / 1e6:.0f} MB"
    console.print(f"{report.output}: {report.demonstrations} demonstrations, {size}, {report.elapsed_s:.0f} s")
