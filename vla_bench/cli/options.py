"""Command-line options shared by several commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vla_bench.core.machine import usable_cores

if TYPE_CHECKING:
    from vla_bench.demos import FilterOptions, NoiseOptions, SlipOptions


Policy = Annotated[str, typer.Option("--policy", "-p", help="Name, card.toml, or package.module:factory.")]
Checkpoint = Annotated[Path | None, typer.Option(help="Checkpoint instead of the card's.")]
Suite = Annotated[str, typer.Option("--suite", "-s", help="Suite of tasks; `vla-bench list suites`.")]
Tasks = Annotated[
    list[str] | None, typer.Option("--task", "-t", help="Task of the suite; repeat for several. [default: all]")
]
Seed = Annotated[
    int, typer.Option("--seed", min=0, help="Base seed; together with the episode index it decides the scene.")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", "-w", min=1, help="Worker processes. [default: one per core]", show_default=False),
]
SlotsPerWorker = Annotated[int, typer.Option(min=1, help="Environments per worker; all environments form one batch.")]
PolicyImageSize = Annotated[
    int | None, typer.Option(min=16, help="Image size in pixels. [default: that of the policy]")
]
Rendering = Annotated[Literal["fast", "faithful"], typer.Option(help="Rendering quality.")]
Robot = Annotated[str, typer.Option("--robot", help="Robot; `vla-bench list robots`.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Output path; unfinished output is resumed.")]
Run = Annotated[Path, typer.Argument(help="Run folder.")]
Runs = Annotated[list[Path], typer.Argument(help="Run folders.")]
RankWithErrors = Annotated[
    bool, typer.Option("--rank-with-errors", help="Rank policies although some episodes ended in an error.")
]
Episode = Annotated[str, typer.Argument(help="task/index, or suite.task/variant/seed/index.")]


def worker_count(asked: int | None) -> int:
    """Return the number of worker processes, by default one per core."""
    return asked or usable_cores()


Suites = Annotated[list[str] | None, typer.Option("--suite", "-s", help="Suite; repeat for several, or `all`.")]
TasksOfSuites = Annotated[
    list[str] | None,
    typer.Option("--task", "-t", help="Task, or suite.task; repeat for several. [default: all of the suites]"),
]
Cameras = Annotated[list[str] | None, typer.Option("--camera", help="Camera to record; repeat for several.")]
Depth = Annotated[bool, typer.Option("--depth", help="Also record depth, in meters.")]
Segmentation = Annotated[bool, typer.Option("--segmentation", help="Also record segmentation.")]
Perturb = Annotated[
    str | None, typer.Option(help="Perturb every scene, such as `camera=2,lighting=1`; `vla-bench list axes`.")
]
KeepFailures = Annotated[bool, typer.Option("--keep-failures", help="Also keep failed attempts.")]

NOISE_DEFAULTS = (0.3, 0.1)  # translation and yaw
SLIP_DEFAULTS = (1, 0.08, 0.5)  # maximum number, probability and push

_DISTURBANCE = "Disturbances that cause recoveries; the undisturbed actions are recorded as labels"
NoiseKind = Annotated[
    Literal["none", "bursts", "drift"],
    typer.Option("--noise", help="Add noise to the motion.", rich_help_panel=_DISTURBANCE),
]
NoiseTranslation = Annotated[
    float, typer.Option(help="Strength of the noise; 1 is 5 cm per step.", rich_help_panel=_DISTURBANCE)
]
NoiseYaw = Annotated[
    float, typer.Option(help="Strength of the rotation noise; 1 is 0.5 rad per step.", rich_help_panel=_DISTURBANCE)
]
SlipKind = Annotated[
    Literal["none", "drop", "push", "both"],
    typer.Option(
        "--slips",
        help="While an object is held, open the gripper, push the arm, or both.",
        rich_help_panel=_DISTURBANCE,
    ),
]
SlipsMost = Annotated[
    int, typer.Option(min=1, help="Maximum number of slips per episode.", rich_help_panel=_DISTURBANCE)
]
SlipChance = Annotated[
    float, typer.Option(help="Probability of a slip per step while an object is held.", rich_help_panel=_DISTURBANCE)
]
SlipPush = Annotated[
    float, typer.Option(help="Strength of the push; 1 is 5 cm per step.", rich_help_panel=_DISTURBANCE)
]

_FILTERS = "Filters; dropped demonstrations are reported with the reason"
DropNoops = Annotated[
    float | None,
    typer.Option(
        help="Drop steps with an action of at most this size (such as 1e-3) and an unchanged gripper command.",
        rich_help_panel=_FILTERS,
    ),
]
LengthScore = Annotated[
    float | None,
    typer.Option(
        help="Drop demonstrations whose length has a larger robust z-score within their task (usual: 3.5).",
        rich_help_panel=_FILTERS,
    ),
]
LengthQuantiles = Annotated[
    tuple[float, float] | None,
    typer.Option(
        help="Drop demonstrations whose length is outside these quantiles of their task.", rich_help_panel=_FILTERS
    ),
]


def selected_suites(suites: list[str] | None) -> tuple[str, ...]:
    """Return the selected suites."""
    from vla_bench.tasks import suites as all_suites

    return all_suites() if suites == ["all"] else tuple(suites or ())


def noise_options(kind: str, translation: float, yaw: float) -> "NoiseOptions | None":
    """Return the selected noise."""
    from vla_bench.demos import NoiseOptions

    if kind == "none":
        _require_unset((translation, yaw) == NOISE_DEFAULTS, "--noise-translation and --noise-yaw", "--noise bursts")
        return None
    return NoiseOptions(translation, yaw, kind)  # type: ignore[arg-type]  # typer checked it


def slip_options(kind: str, most: int, chance: float, push: float) -> "SlipOptions | None":
    """Return the selected slips."""
    from vla_bench.demos import SlipOptions

    if kind == "none":
        _require_unset(
            (most, chance, push) == SLIP_DEFAULTS, "--slips-most, --slip-chance and --slip-push", "--slips drop"
        )
        return None
    return SlipOptions(kind, most, chance, push=push)  # type: ignore[arg-type]  # typer checked it


def filter_options(
    noops: float | None,
    score: float | None,
    quantiles: tuple[float, float] | None,
    *,
    failures: bool = False,
) -> "FilterOptions":
    """Return the selected filters."""
    from vla_bench.demos import FilterOptions

    return FilterOptions(failures, noops, score, quantiles)


def _require_unset(as_by_default: bool, options: str, wanted: str) -> None:
    """Raise if the strength of a disturbance is set without the disturbance."""
    from vla_bench.demos.options import CollectOptionsError

    if not as_by_default:
        raise CollectOptionsError(f"{options} have no effect without a disturbance. Add one, such as {wanted}.")
