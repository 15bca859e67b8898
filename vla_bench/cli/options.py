"""Command-line options shared by several commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vla_bench.core.machine import usable_cores

if TYPE_CHECKING:
    from vla_bench.demos import FilterOptions, NoiseOptions, SlipOptions


# ~ Options that several commands share.

Policy = Annotated[str, typer.Option("--policy", "-p", help="Name, card.toml, or package.module:factory.")]
Checkpoint = Annotated[Path | None, typer.Option(help="Checkpoint in place of the card's.")]
Suite = Annotated[str, typer.Option("--suite", "-s", help="Suite of tasks; `vla-bench list suites`.")]
Tasks = Annotated[
    list[str] | None, typer.Option("--task", "-t", help="Task of the suite; repeat for several. [default: all]")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Base seed; with the episode's index it decides the scene.")]
Workers = Annotated[
    int | None,
    typer.Option("--workers", "-w", min=1, help="Worker processes. [default: one a core]", show_default=False),
]
SlotsPerWorker = Annotated[int, typer.Option(min=1, help="Environments in each worker; all form one batch.")]
PolicyImageSize = Annotated[int | None, typer.Option(min=16, help="Pixels. [default: what the policy asks for]")]
Rendering = Annotated[Literal["fast", "faithful"], typer.Option(help="Quality of the images.")]
Robot = Annotated[str, typer.Option("--robot", help="Robot that acts; `vla-bench list robots`.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where to write; one that was begun is continued.")]
Run = Annotated[Path, typer.Argument(help="Run folder.")]
Runs = Annotated[list[Path], typer.Argument(help="Run folders.")]
RankWithErrors = Annotated[
    bool, typer.Option("--rank-with-errors", help="Rank policies although episodes ended in an error.")
]
Episode = Annotated[str, typer.Argument(help="task/index, or suite.task/variant/seed/index.")]


def worker_count(asked: int | None) -> int:
    """Return how many worker processes to use."""
    return asked or usable_cores()


# ~ Options of `vla-bench generate-demos` and `vla-bench record`: what is recorded, how it is disturbed and
# ~ filtered.

Suites = Annotated[list[str] | None, typer.Option("--suite", "-s", help="Suite; repeat for several, or `all`.")]
TasksOfSuites = Annotated[
    list[str] | None,
    typer.Option("--task", "-t", help="Task, or suite.task; repeat for several. [default: all of the suites]"),
]
Cameras = Annotated[list[str] | None, typer.Option("--camera", help="Camera to record; repeat for several.")]
Depth = Annotated[bool, typer.Option("--depth", help="Record depth too, in metres.")]
Segmentation = Annotated[bool, typer.Option("--segmentation", help="Record what each pixel shows, too.")]
Perturb = Annotated[
    str | None, typer.Option(help="Perturb every scene, such as `camera=2,lighting=1`; `vla-bench list axes`.")
]
KeepFailures = Annotated[bool, typer.Option("--keep-failures", help="Keep failed attempts too.")]

NOISE_DEFAULTS = (0.3, 0.1)  # translation and yaw
SLIP_DEFAULTS = (1, 0.08, 0.5)  # most, chance and push

_DISTURBANCE = "Disturbances, so that demonstrations show recoveries; what was wanted is what is recorded"
NoiseKind = Annotated[
    Literal["none", "bursts", "drift"],
    typer.Option("--noise", help="Push the hand about.", rich_help_panel=_DISTURBANCE),
]
NoiseTranslation = Annotated[
    float, typer.Option(help="Strength of the noise; 1 is 5 cm a step.", rich_help_panel=_DISTURBANCE)
]
NoiseYaw = Annotated[float, typer.Option(help="Strength; 1 is 0.5 rad a step.", rich_help_panel=_DISTURBANCE)]
SlipKind = Annotated[
    Literal["none", "drop", "push", "both"],
    typer.Option(
        "--slips",
        help="While something is held, open the gripper, push the hand, or both.",
        rich_help_panel=_DISTURBANCE,
    ),
]
SlipsMost = Annotated[int, typer.Option(min=1, help="Slips in an episode, at most.", rich_help_panel=_DISTURBANCE)]
SlipChance = Annotated[
    float, typer.Option(help="Chance that one begins, at each step of holding.", rich_help_panel=_DISTURBANCE)
]
SlipPush = Annotated[float, typer.Option(help="Strength of the push; 1 is 5 cm a step.", rich_help_panel=_DISTURBANCE)]

_FILTERS = "Filters; what they drop is said, and why"
DropNoops = Annotated[
    float | None,
    typer.Option(
        help="Drop steps whose action is at most this large (such as 1e-3) while the gripper's command stays.",
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
    """Return the suites that are meant."""
    from vla_bench.tasks import suites as all_suites

    return all_suites() if suites == ["all"] else tuple(suites or ())


def noise_options(kind: str, translation: float, yaw: float) -> "NoiseOptions | None":
    """Return the noise that is asked for."""
    from vla_bench.demos import NoiseOptions

    if kind == "none":
        _require_unset((translation, yaw) == NOISE_DEFAULTS, "--noise-translation and --noise-yaw", "--noise bursts")
        return None
    return NoiseOptions(translation, yaw, kind)  # type: ignore[arg-type]  # typer checked it


def slip_options(kind: str, most: int, chance: float, push: float) -> "SlipOptions | None":
    """Return the slips that are asked for."""
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
    """Return the filters that are asked for."""
    from vla_bench.demos import FilterOptions

    return FilterOptions(failures, noops, score, quantiles)


def _require_unset(as_by_default: bool, options: str, wanted: str) -> None:
    """Raise where the strength of a disturbance is chosen and the disturbance is not: it would be recorded without."""
    from vla_bench.demos.options import CollectOptionsError

    if not as_by_default:
        raise CollectOptionsError(f"{options} change nothing without a disturbance. Add one, such as {wanted}.")
