"""Plots of how cost grows."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from vla_bench.benchmarking.figures import number
from vla_bench.benchmarking.growth_points import Growth
from vla_bench.benchmarking.page import PLOTS_FOLDER, exponent_text
from vla_bench.core.paths import written_whole

_WIDTH_IN, _HEIGHT_IN, _DPI = 3.6, 2.8, 110
_COST, _MEMORY, _FAINT = "#0072B2", "#D55E00", "#BBBBBB"


def save_growths(growths: Sequence[Growth], folder: Path) -> list[Path]:
    """Draw each growth into `folder/performance/` and return the files."""
    paths = [folder / PLOTS_FOLDER / f"{growth.name}.png" for growth in growths]
    for growth, path in zip(growths, paths, strict=True):
        with written_whole(path) as temporary:
            _save(growth, temporary)
    return paths


def _save(growth: Growth, path: Path) -> None:
    with mpl.rc_context({"font.size": 8.0, "axes.spines.top": False}):
        figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        sizes = [point.size for point in growth.points]
        costs = [point.cost for point in growth.points]
        linear = [costs[0] * size / sizes[0] for size in sizes]
        axes.loglog(sizes, linear, color=_FAINT, linestyle="--", label="linear")
        axes.loglog(sizes, costs, color=_COST, marker="o", markersize=4, label=exponent_text(growth.exponent))
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(lambda value, position: number(value))
        axes.set_xlabel(growth.size)
        axes.set_ylabel(growth.cost, color=_COST)
        axes.set_title(growth.title, fontsize=8.5)
        axes.legend(frameon=False, loc="upper left", title="exponent [95 %]", title_fontsize=7.5)
        _draw_memory(axes, growth, sizes)
        axes.set_xticks(sizes, [number(size) for size in sizes])
        axes.minorticks_off()
        figure.savefig(path, dpi=_DPI, metadata={"Software": ""})


def _draw_memory(axes: Axes, growth: Growth, sizes: Sequence[float]) -> None:
    memory = [point.memory_mb for point in growth.points if point.memory_mb]
    if len(memory) != len(sizes):
        return
    beside = axes.twinx()
    beside.plot(sizes, memory, color=_MEMORY, marker="s", markersize=3, linewidth=1.0)
    beside.set_ylim(0.0, 2.0 * max(memory))  # below the legend
    beside.set_ylabel("memory [MB]", color=_MEMORY)
