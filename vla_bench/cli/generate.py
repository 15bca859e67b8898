"""`vla-bench generate-demos` and `vla-bench inspect`: demonstrations."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from vla_bench.cli import recording_options as asked
from vla_bench.cli.options import Output, Rendering, Robot, Seed, Workers, worker_count
from vla_bench.cli.progress import Update, progress_shown
from vla_bench.cli.tables import print_table

if TYPE_CHECKING:
    from vla_bench.demos import CollectProgress, CollectReport


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("generate-demos")(generate_demos)
    app.command("inspect")(inspect_demos)


def generate_demos(
    output: Output,
    suite: asked.Suites = None,
    task: asked.TasksOfSuites = None,
    episodes: Annotated[int, typer.Option("--episodes", "-n", min=1, help="Successes of each task.")] = 50,
    seed: Seed = 0,
    workers: Workers = None,
    camera: asked.Cameras = ["agentview", "wrist"],  # noqa: B006  # typer reads the default, nobody changes it
    image_size: Annotated[int, typer.Option(min=16, help="Width and height of the images in pixels.")] = 224,
    depth: asked.Depth = False,
    segmentation: asked.Segmentation = False,
    rendering: Rendering = "fast",
    robot: Robot = "panda",
    perturb: asked.Perturb = None,
    keep_failures: asked.KeepFailures = False,
    noise: asked.NoiseKind = "none",
    noise_translation: asked.NoiseTranslation = asked.NOISE_DEFAULTS[0],
    noise_yaw: asked.NoiseYaw = asked.NOISE_DEFAULTS[1],
    slips: asked.SlipKind = "none",
    slips_most: asked.SlipsMost = asked.SLIP_DEFAULTS[0],
    slip_chance: asked.SlipChance = asked.SLIP_DEFAULTS[1],
    slip_push: asked.SlipPush = asked.SLIP_DEFAULTS[2],
    drop_noops: asked.DropNoops = None,
    length_score: asked.LengthScore = None,
    length_quantiles: asked.LengthQuantiles = None,
    file_per_suite: Annotated[
        bool, typer.Option("--file-per-suite", help="--output is a folder, with a file for each suite.")
    ] = False,
) -> None:
    """Make demonstrations with scripted experts.

    Ctrl-C or a kill keeps every finished demonstration; the same command goes on where it stopped.

    Example: `vla-bench generate-demos --suite tabletop_object --episodes 50 --output demos.hdf5`

    Of several suites: `vla-bench generate-demos -s all --file-per-suite --output demos/`
    """
    from vla_bench.demos import CollectOptions, collect

    whole = CollectOptions(
        suites=asked.suites_chosen(suite),
        output=output,
        tasks=tuple(task or ()),
        episodes=episodes,
        seed=seed,
        workers=worker_count(workers),
        image_size=image_size,
        cameras=tuple(camera or ()),
        depth=depth,
        segmentation=segmentation,
        rendering=rendering,
        robot=robot,
        perturb=perturb,
        keep_failures=keep_failures,
        noise=asked.noise_of(noise, noise_translation, noise_yaw),
        slips=asked.slips_of(slips, slips_most, slip_chance, slip_push),
        filters=asked.filters_of(drop_noops, length_score, length_quantiles),
    )
    for options in whole.by_suite() if file_per_suite else (whole,):
        with progress_shown(f"demonstrations into {options.output.name}") as update:
            print_collected(collect(options, partial(_show, update)))


def _show(update: Update, progress: "CollectProgress") -> None:
    update(progress.finished, progress.wanted, rates_of(progress))


def inspect_demos(
    demos: Annotated[Path, typer.Argument(help="HDF5 file (ours, robomimic's, LIBERO's) or LeRobot folder.")],
    sheet: Annotated[
        Path | None, typer.Option(help="Where to write the contact sheet. [default: beside what is shown, .png]")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Demonstrations on the sheet.")] = 20,
    frames: Annotated[int, typer.Option(min=2, help="Moments of each.")] = 8,
    videos: Annotated[Path | None, typer.Option(help="Folder for an mp4 of each demonstration.")] = None,
) -> None:
    """Summarise demonstrations of any known format, and write a contact sheet.

    Example: `vla-bench inspect demos.hdf5 --videos videos/`
    """
    from vla_bench.demos import summarise, write_contact_sheet, write_videos
    from vla_bench.demos.source_summary import source_lines
    from vla_bench.demos.sources import open_source

    with open_source(demos) as source:
        ours = source.facts.format == "ours"
        typer.echo("\n".join(summarise(demos).lines() if ours else source_lines(source)))
        picture = write_contact_sheet(source, sheet or demos.with_suffix(".png"), rows=rows, frames=frames)
        typer.echo(f"contact sheet   {picture}")
        if videos is not None:
            typer.echo(f"videos          {len(write_videos(source, videos))} in {videos}")


def rates_of(progress: "CollectProgress") -> str:
    """Return a collection's speed and success in a few words."""
    return f"{progress.per_minute:.0f} a minute, success {progress.success_rate:.0%}" if progress.attempts else ""


def print_collected(report: "CollectReport") -> None:
    """Print what a collection ended with."""
    dropped = Counter(one.task for one in report.dropped)
    rows = [
        (task.task, str(task.demonstrations - dropped[task.task]), f"{task.successes / task.attempts:.0%}")
        for task in report.tasks
    ]
    print_table(("task", "demonstrations", "success"), rows, words=1)
    console = Console()
    for death in report.deaths:
        console.print(death, style="yellow")
    for one in report.dropped:
        console.print(f"dropped by {one.by}: episode {one.index} of {one.task}, {one.reason}", highlight=False)
    if report.dropped_steps:
        console.print(f"dropped {report.dropped_steps:,} steps without effect", highlight=False)
    size, count = f"{report.size_bytes / 1e6:.0f} MB", report.demonstrations - len(report.dropped)
    console.print(f"{report.output}: {count} demonstrations, {size}, {report.elapsed_s:.0f} s", soft_wrap=True)
