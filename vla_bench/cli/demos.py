"""The commands `inspect`, `replay`, `render` and `demos` (merge, split, filter, export)."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from vla_bench.cli.model_options import ModelOptions
from vla_bench.cli.options import Output, Workers, worker_count
from vla_bench.cli.terminal import print_table, show_progress
from vla_bench.demos.filters import FilterOptions

if TYPE_CHECKING:
    from vla_bench.demos.replay import ReplayReport, ReplayResult


Demos = Annotated[Path, typer.Argument(help="HDF5 file of `vla-bench generate-demos` or `record`.")]

NewOutput = Annotated[Path, typer.Option("--output", "-o", help="New file to write.")]


def replay(
    demos: Demos,
    demo: Annotated[list[str] | None, typer.Option(help="Demonstration; repeat for several. [default: all]")] = None,
    workers: Workers = None,
) -> None:
    """Replay recorded actions from the recorded start states and report how many demonstrations still succeed.

    Exit status 1 if a successful demonstration fails now.

    Example: `vla-bench replay demos.hdf5`
    """
    from vla_bench.demos.replay import replay as run_again

    with show_progress("replayed") as update:
        report = run_again(demos, names=demo or None, workers=worker_count(workers), on_progress=update)
    _print_replay(report)
    if not report.passed:
        raise typer.Exit(1)


def render(
    demos: Demos,
    output: Output,
    camera: Annotated[
        list[str] | None,
        typer.Option("--camera", "--cameras", help="Camera; repeat, or use commas. [default: those of the file]"),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option("--image-size", "--size", min=16, help="Pixels. [default: those of the file]")
    ] = None,
    depth: Annotated[bool | None, typer.Option("--depth/--no-depth", help="Also render depth, in meters.")] = None,
    segmentation: Annotated[
        bool | None, typer.Option("--segmentation/--no-segmentation", help="Also render segmentation.")
    ] = None,
    rendering: Annotated[
        Literal["fast", "faithful"] | None, typer.Option(help="Quality of the images. [default: that of the file]")
    ] = None,
    workers: Workers = None,
) -> None:
    """Re-render the observations of recorded states, without planning or simulation.

    Example: `vla-bench render demos.hdf5 --camera agentview --camera wrist --image-size 128 --depth --output new.hdf5`
    """
    from vla_bench.demos.rerendering import RenderOptions
    from vla_bench.demos.rerendering import render as render_again

    options = RenderOptions(
        source=demos,
        output=output,
        cameras=None if not camera else tuple(name.strip() for name in ",".join(camera).split(",") if name.strip()),
        image_size=image_size,
        depth=depth,
        segmentation=segmentation,
        rendering=rendering,
        workers=worker_count(workers),
    )
    with show_progress("rendered") as update:
        report = render_again(options, update)
    _print_line(f"{output}: {report.demonstrations} demonstrations")
    if report.other_models:
        note = f"{report.other_models} of them were recorded with another model; the current model was rendered."
        Console(highlight=False).print(note, style="yellow", soft_wrap=True)


def merge(
    demos: Annotated[list[Path], typer.Argument(help="Our HDF5 files, in the order of the result.")],
    output: NewOutput,
) -> None:
    """Merge files into one; files with other cameras, sizes or robots are refused.

    Every demonstration keeps its subsets (`train`, `valid`, ...). An episode that occurs twice with equal actions is
    stored once.

    Example: `vla-bench demos merge monday.hdf5 tuesday.hdf5 --output both.hdf5`
    """
    from vla_bench.demos import merge_files

    report = merge_files(demos, output)
    twice = f", {report.duplicates} duplicates removed" if report.duplicates else ""
    _print_line(f"{output}: {report.demonstrations} demonstrations{twice}")


def split(
    demos: Demos,
    output: NewOutput,
    valid: Annotated[float, typer.Option(help="Fraction of the successes of each task for validation.")] = 0.1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the random split.")] = 0,
    files: Annotated[
        bool, typer.Option("--files", help="Write two files instead of one with the masks `train` and `valid`.")
    ] = False,
) -> None:
    """Split the demonstrations of each task randomly into training and validation.

    Example: `vla-bench demos split demos.hdf5 --valid 0.2 --seed 1 --output divided.hdf5`
    """
    from vla_bench.demos import split_file

    report = split_file(demos, output, valid=valid, seed=seed, separate=files)
    names = " and ".join(map(str, report.outputs))
    _print_line(f"{names}: {report.train} demonstrations for training, {report.valid} for validation")


FILTER_OPTIONS = ModelOptions(FilterOptions, names={"failures": ("--success",), "noops": ("--drop-noops",)})


@FILTER_OPTIONS.add_to_command
def filter_demos(
    demos: Demos,
    output: NewOutput,
    **options: Any,
) -> None:
    """Drop unsuitable demonstrations and steps, and report the reasons.

    Example: `vla-bench demos filter demos.hdf5 --success --length-score 3.5 --drop-noops 1e-3 --output kept.hdf5`
    """
    from vla_bench.demos import filter_file

    report = filter_file(demos, output, FILTER_OPTIONS.build({}, options))
    _print_line("\n".join([f"{output}", *report.lines()]))


def export(
    demos: Annotated[Path, typer.Argument(help="HDF5 file (ours, robomimic's, LIBERO's) or LeRobot folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="New file or folder to write.")],
    to: Annotated[str, typer.Option("--format", help="Format to write.")] = "lerobot",
    instruction: Annotated[str | None, typer.Option(help="Instruction. [default: that of the demonstrations]")] = None,
    gripper: Annotated[
        Literal["close_positive", "open_positive", "close_one", "open_one"] | None,
        typer.Option(help="Gripper convention of the demonstrations. [default: that of their format]"),
    ] = None,
    orientation: Annotated[
        Literal["upright", "upside_down", "mirrored", "rotated_180"] | None,
        typer.Option(help="Image orientation of the demonstrations. [default: that of their format]"),
    ] = None,
) -> None:
    """Export demonstrations to the format of another tool: upright images, gripper -1 open to +1 closed.

    Example: `vla-bench demos export demos.hdf5 --format lerobot --output demos_lerobot/`
    """
    from vla_bench.demos.formats import exporters
    from vla_bench.demos.sources import SourceOptions, open_source, require_stated_conventions

    write = exporters[to]
    options = SourceOptions(instruction=instruction, gripper=gripper, orientation=orientation)
    with open_source(demos, options) as source:
        require_stated_conventions([source], options)
        write(source, output)
        _print_line(f"{output}: {len(source.episodes)} demonstrations, format {to}")


def _print_line(text: str) -> None:
    Console(highlight=False).print(text, soft_wrap=True)


def _print_replay(report: "ReplayReport") -> None:
    """Print the differences per demonstration and the number of successes."""
    rows = [_replay_row(row) for row in report.results if not (row.exact and row.as_recorded)]
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
    console.print(f"{report.exact} of {len(report.results)} reach every recorded state bit for bit.", soft_wrap=True)
    for note, count in report.notes_of_exact_replays().items():
        console.print(f"{count} of those: {note}", style="yellow", soft_wrap=True)


def _replay_row(row: "ReplayResult") -> tuple[str, ...]:
    outcome = {True: "success", False: "failure"}
    return (
        row.name,
        row.task_id,
        outcome[row.recorded_success],
        outcome[row.success],
        "never" if row.first_difference is None else f"{row.first_difference} of {row.steps}",
        f"{row.largest_difference:.1e}",
        f"{1000 * row.gripper_distance_m:.2f} mm",
        "; ".join(row.notes),
    )


def inspect_demos(
    demos: Annotated[Path, typer.Argument(help="HDF5 file (ours, robomimic's, LIBERO's) or LeRobot folder.")],
    sheet: Annotated[
        Path | None, typer.Option(help="File of the contact sheet. [default: next to the demonstrations, .png]")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Demonstrations on the sheet.")] = 20,
    frames: Annotated[int, typer.Option(min=2, help="Frames per demonstration.")] = 8,
    videos: Annotated[Path | None, typer.Option(help="Folder for one mp4 per demonstration.")] = None,
) -> None:
    """Summarize demonstrations of any known format and write a contact sheet.

    Example: `vla-bench inspect demos.hdf5 --videos videos/`
    """
    from vla_bench.demos import write_contact_sheet, write_videos
    from vla_bench.demos.sources import open_source
    from vla_bench.demos.summary import source_lines

    with open_source(demos) as source:
        typer.echo("\n".join(source_lines(source)))
        image = write_contact_sheet(source, sheet or demos.with_suffix(".png"), rows=rows, frames=frames)
        typer.echo(f"contact sheet   {image}")
        if videos is not None:
            typer.echo(f"videos          {len(write_videos(source, videos))} in {videos}")


file_commands = typer.Typer(
    no_args_is_help=True,
    help="Merge, split, filter and export demonstration files.\n\n"
    "Example: `vla-bench demos merge a.hdf5 b.hdf5 -o both.hdf5`",
)
file_commands.command("merge")(merge)
file_commands.command("split")(split)
file_commands.command("filter")(filter_demos)
file_commands.command("export")(export)
