"""The performance report: tables in Markdown and plots of scaling curves."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from vla_bench.core.files import written_whole
from vla_bench.performance.record import (
    BenchmarkRecord,
    Metric,
    ScalingCurve,
    ScalingExponent,
    StepProfile,
    Target,
    format_number,
    strip_code_marks,
)
from vla_bench.results.text_tables import TextTable, markdown_table

REPORT_NAME = "performance.md"
PLOTS_FOLDER = "performance"


def write_report(record: BenchmarkRecord, folder: Path) -> Path:
    """Write the report and return its path."""
    with written_whole(folder / REPORT_NAME) as path:
        path.write_text(report_page(record), encoding="utf-8")
    return folder / REPORT_NAME


def report_page(record: BenchmarkRecord) -> str:
    """Return the report as Markdown: targets, all metrics, profiles, scaling, and how it was measured."""
    lines = [
        "# Performance",
        "",
        "Medians and ranges over the turns. A ratio compares values of the same turn: the compared workloads run in",
        "separate processes and alternate, so that other load on the machine affects all of them equally.",
        "",
        *_section(targets_table(record)),
        *_section(metrics_table(record)),
        *_not_run_section(record),
        *_profile_sections(record.profiles),
        *_scaling_sections(record.growths),
        "## Method",
        "",
        f"- Hardware: {record.machine}",
        f"- Software: {record.software}",
        f"- {record.how}",
        f"- Date: {record.date}",
        f"- Command: `{record.command}`",
        *_note_lines(record),
        "",
    ]
    return "\n".join(lines)


def targets_table(record: BenchmarkRecord) -> TextTable:
    """Return the targets and the measured medians."""
    rows = [
        (
            strip_code_marks(metric.title),
            str(aim),
            median_text(metric),
            range_text(metric),
            "yes" if aim.met(metric.median) else "no",
        )
        for metric, aim in _metrics_with_targets(record)
    ]
    return TextTable("Targets", ("metric", "target", "median", "range", "met"), tuple(rows), left=1)


def metrics_table(record: BenchmarkRecord) -> TextTable:
    """Return a table of all metrics."""
    rows = [
        (
            outcome.measure,
            strip_code_marks(metric.title),
            median_text(metric),
            range_text(metric),
            str(len(metric.turns)),
        )
        for outcome in record.outcomes
        for metric in outcome.figures
    ]
    header = ("measure", "metric", "median", "range", "turns")
    return TextTable("All metrics", header, tuple(rows), left=2)


def profile_table(profile: StepProfile) -> TextTable:
    """Return a table of the parts of a control step."""
    total = profile.total_ms
    rows = [
        (
            strip_code_marks(part.name),
            f"{part.milliseconds:.2f}",
            f"{part.low:.2f} to {part.high:.2f}",
            f"{part.milliseconds / total:.0%}",
        )
        for part in profile.parts
    ]
    rows.append(("total", f"{total:.2f}", "", "100%"))
    title = f"Control step of `{profile.task_id}`, images of {profile.image_size} px"
    return TextTable(title, ("part", "ms", "range", "share"), tuple(rows), left=1)


def scaling_table(curves: Iterable[ScalingCurve]) -> TextTable:
    """Return a table of the fitted exponents."""
    rows = [
        (curve.title, curve.size, curve.cost, exponent_text(curve.exponent), _memory_text(curve)) for curve in curves
    ]
    header = ("scaling", "size", "cost", "exponent [95 %]", "memory: exponent, MB")
    return TextTable("Scaling", header, tuple(rows), left=3)


def points_table(curve: ScalingCurve) -> TextTable:
    """Return a table of the points of one scaling curve."""
    rows = [
        (
            format_number(point.size),
            format_number(point.cost),
            "" if point.memory_mb is None else format_number(point.memory_mb),
        )
        for point in curve.points
    ]
    return TextTable(curve.title, (curve.size, curve.cost, "memory [MB]"), tuple(rows), left=0)


def median_text(metric: Metric) -> str:
    """Return the median with its unit."""
    return str(metric)


def range_text(metric: Metric) -> str:
    """Return the range of the turns, or an empty string for a single turn."""
    return "" if len(metric.turns) == 1 else f"{format_number(metric.low)} to {format_number(metric.high)}"


def exponent_text(exponent: ScalingExponent) -> str:
    """Return `0.98 [0.95, 1.01]`."""
    return f"{exponent.value:.2f} [{exponent.low:.2f}, {exponent.high:.2f}]"


def _memory_text(curve: ScalingCurve) -> str:
    memory = [point.memory_mb for point in curve.points if point.memory_mb is not None]
    if curve.memory_exponent is None or not memory:
        return ""
    return f"{exponent_text(curve.memory_exponent)}, {format_number(memory[0])} to {format_number(memory[-1])}"


def _metrics_with_targets(record: BenchmarkRecord) -> Iterator[tuple[Metric, Target]]:
    for outcome in record.outcomes:
        for metric in outcome.figures:
            if metric.aim is not None:
                yield metric, metric.aim


def _section(table: TextTable, level: int = 2) -> list[str]:
    return [f"{'#' * level} {table.title}", "", markdown_table(table), ""] if table.rows else []


def _not_run_section(record: BenchmarkRecord) -> list[str]:
    missing = [outcome for outcome in record.outcomes if outcome.not_run]
    if not missing:
        return []
    return ["## Not run", "", *(f"- {one.title} (`{one.measure}`): {one.not_run}" for one in missing), ""]


def _note_lines(record: BenchmarkRecord) -> list[str]:
    notes = dict.fromkeys(note for outcome in record.outcomes for note in outcome.notes)
    return [f"- {note}" for note in notes]


def _profile_sections(profiles: Iterable[StepProfile]) -> list[str]:
    sections = [line for profile in profiles for line in _section(profile_table(profile), level=3)]
    return ["## Time of a control step by part", "", *sections] if sections else []


def _scaling_sections(curves: tuple[ScalingCurve, ...]) -> list[str]:
    if not curves:
        return []
    plots = [f"![{curve.title}]({PLOTS_FOLDER}/{curve.name}.png)" for curve in curves]
    points = [line for curve in curves for line in _section(points_table(curve), level=3)]
    return [*_section(scaling_table(curves)), *plots, "", *points]


_WIDTH_IN, _HEIGHT_IN, _DPI = 3.6, 2.8, 110
_COST, _MEMORY, _LINEAR = "#0072B2", "#D55E00", "#BBBBBB"


def save_scaling_plots(curves: Sequence[ScalingCurve], folder: Path) -> list[Path]:
    """Plot each scaling curve into `folder/performance/` and return the files."""
    paths = [folder / PLOTS_FOLDER / f"{curve.name}.png" for curve in curves]
    for curve, path in zip(curves, paths, strict=True):
        with written_whole(path) as temporary:
            _save_plot(curve, temporary)
    return paths


def _save_plot(curve: ScalingCurve, path: Path) -> None:
    with mpl.rc_context({"font.size": 8.0, "axes.spines.top": False}):
        figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        sizes = [point.size for point in curve.points]
        costs = [point.cost for point in curve.points]
        linear = [costs[0] * size / sizes[0] for size in sizes]
        axes.loglog(sizes, linear, color=_LINEAR, linestyle="--", label="linear")
        axes.loglog(sizes, costs, color=_COST, marker="o", markersize=4, label=exponent_text(curve.exponent))
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(lambda value, position: format_number(value))
        axes.set_xlabel(curve.size)
        axes.set_ylabel(curve.cost, color=_COST)
        axes.set_title(curve.title, fontsize=8.5)
        axes.legend(frameon=False, loc="upper left", title="exponent [95 %]", title_fontsize=7.5)
        _plot_memory(axes, curve, sizes)
        axes.set_xticks(sizes, [format_number(size) for size in sizes])
        axes.minorticks_off()
        figure.savefig(path, dpi=_DPI, metadata={"Software": ""})


def _plot_memory(axes: Axes, curve: ScalingCurve, sizes: Sequence[float]) -> None:
    memory = [point.memory_mb for point in curve.points if point.memory_mb]
    if len(memory) != len(sizes):
        return
    memory_axes = axes.twinx()
    memory_axes.plot(sizes, memory, color=_MEMORY, marker="s", markersize=3, linewidth=1.0)
    memory_axes.set_ylim(0.0, 2.0 * max(memory))  # keeps the curve below the legend
    memory_axes.set_ylabel("memory [MB]", color=_MEMORY)
