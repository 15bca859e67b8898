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

# ~ `results/performance.md`: the aims and what was reached, every figure, profiles, growth, and how it was
# ~ measured.

REPORT_NAME = "performance.md"
PLOTS_FOLDER = "performance"


def write_report(record: BenchmarkRecord, folder: Path) -> Path:
    """Write the page and return its path."""
    with written_whole(folder / REPORT_NAME) as path:
        path.write_text(report_page(record), encoding="utf-8")
    return folder / REPORT_NAME


def report_page(record: BenchmarkRecord) -> str:
    """Return the page as Markdown."""
    lines = [
        "# Performance",
        "",
        "Medians of the turns, and their range. Every ratio is one of the same turn: what is compared takes turns,",
        "each in a process of its own, so that a busy moment of the machine hits all alike.",
        "",
        *_section(targets_table(record)),
        *_section(metrics_table(record)),
        *_not_run_section(record),
        *_profile_sections(record.profiles),
        *_scaling_sections(record.growths),
        "## How it was measured",
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
    """Return the aims beside what was reached."""
    rows = [
        (
            strip_code_marks(figure.title),
            str(aim),
            median_text(figure),
            range_text(figure),
            "yes" if aim.met(figure.median) else "no",
        )
        for figure, aim in _metrics_with_targets(record)
    ]
    return TextTable("Aims", ("what", "aim", "reached", "lowest to highest", "met"), tuple(rows), left=1)


def metrics_table(record: BenchmarkRecord) -> TextTable:
    """Return every figure."""
    rows = [
        (
            outcome.measure,
            strip_code_marks(figure.title),
            median_text(figure),
            range_text(figure),
            str(len(figure.turns)),
        )
        for outcome in record.outcomes
        for figure in outcome.figures
    ]
    header = ("measure", "what", "median", "lowest to highest", "turns")
    return TextTable("All figures", header, tuple(rows), left=2)


def profile_table(profile: StepProfile) -> TextTable:
    """Return where a step's time goes."""
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
    rows.append(("together", f"{total:.2f}", "", "100%"))
    title = f"A control step of `{profile.task_id}`, cameras of {profile.image_size} px"
    return TextTable(title, ("part", "ms", "lowest to highest", "share"), tuple(rows), left=1)


def scaling_table(growths: Iterable[ScalingCurve]) -> TextTable:
    """Return the exponents."""
    rows = [
        (growth.title, growth.size, growth.cost, exponent_text(growth.exponent), _memory_text(growth))
        for growth in growths
    ]
    header = ("what", "size", "cost", "exponent [95 %]", "memory: exponent, MB")
    return TextTable("How cost grows", header, tuple(rows), left=3)


def points_table(growth: ScalingCurve) -> TextTable:
    """Return the points of one growth."""
    rows = [
        (
            format_number(point.size),
            format_number(point.cost),
            "" if point.memory_mb is None else format_number(point.memory_mb),
        )
        for point in growth.points
    ]
    return TextTable(growth.title, (growth.size, growth.cost, "memory [MB]"), tuple(rows), left=0)


def median_text(figure: Metric) -> str:
    """Return the median with its unit."""
    return str(figure)


def range_text(figure: Metric) -> str:
    """Return the range of the turns."""
    return "" if len(figure.turns) == 1 else f"{format_number(figure.low)} to {format_number(figure.high)}"


def exponent_text(exponent: ScalingExponent) -> str:
    """Return `0.98 [0.95, 1.01]`."""
    return f"{exponent.value:.2f} [{exponent.low:.2f}, {exponent.high:.2f}]"


def _memory_text(growth: ScalingCurve) -> str:
    memory = [point.memory_mb for point in growth.points if point.memory_mb is not None]
    if growth.memory_exponent is None or not memory:
        return ""
    return f"{exponent_text(growth.memory_exponent)}, {format_number(memory[0])} to {format_number(memory[-1])}"


def _metrics_with_targets(record: BenchmarkRecord) -> Iterator[tuple[Metric, Target]]:
    for outcome in record.outcomes:
        for figure in outcome.figures:
            if figure.aim is not None:
                yield figure, figure.aim


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
    return ["## Where a step's time goes", "", *sections] if sections else []


def _scaling_sections(growths: tuple[ScalingCurve, ...]) -> list[str]:
    if not growths:
        return []
    plots = [f"![{growth.title}]({PLOTS_FOLDER}/{growth.name}.png)" for growth in growths]
    points = [line for growth in growths for line in _section(points_table(growth), level=3)]
    return [*_section(scaling_table(growths)), *plots, "", *points]


# ~ Plots of how cost grows.

_WIDTH_IN, _HEIGHT_IN, _DPI = 3.6, 2.8, 110
_COST, _MEMORY, _LINEAR = "#0072B2", "#D55E00", "#BBBBBB"


def save_scaling_plots(growths: Sequence[ScalingCurve], folder: Path) -> list[Path]:
    """Draw each growth into `folder/performance/` and return the files."""
    paths = [folder / PLOTS_FOLDER / f"{growth.name}.png" for growth in growths]
    for growth, path in zip(growths, paths, strict=True):
        with written_whole(path) as temporary:
            _save_plot(growth, temporary)
    return paths


def _save_plot(growth: ScalingCurve, path: Path) -> None:
    with mpl.rc_context({"font.size": 8.0, "axes.spines.top": False}):
        figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        sizes = [point.size for point in growth.points]
        costs = [point.cost for point in growth.points]
        linear = [costs[0] * size / sizes[0] for size in sizes]
        axes.loglog(sizes, linear, color=_LINEAR, linestyle="--", label="linear")
        axes.loglog(sizes, costs, color=_COST, marker="o", markersize=4, label=exponent_text(growth.exponent))
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(lambda value, position: format_number(value))
        axes.set_xlabel(growth.size)
        axes.set_ylabel(growth.cost, color=_COST)
        axes.set_title(growth.title, fontsize=8.5)
        axes.legend(frameon=False, loc="upper left", title="exponent [95 %]", title_fontsize=7.5)
        _plot_memory(axes, growth, sizes)
        axes.set_xticks(sizes, [format_number(size) for size in sizes])
        axes.minorticks_off()
        figure.savefig(path, dpi=_DPI, metadata={"Software": ""})


def _plot_memory(axes: Axes, growth: ScalingCurve, sizes: Sequence[float]) -> None:
    memory = [point.memory_mb for point in growth.points if point.memory_mb]
    if len(memory) != len(sizes):
        return
    beside = axes.twinx()
    beside.plot(sizes, memory, color=_MEMORY, marker="s", markersize=3, linewidth=1.0)
    beside.set_ylim(0.0, 2.0 * max(memory))  # below the legend
    beside.set_ylabel("memory [MB]", color=_MEMORY)
