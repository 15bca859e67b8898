"""The leaderboard as a figure: success rate and its interval for each task and policy."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vla_bench.results.leaderboard import ALL_TASKS
from vla_bench.results.tables import sections

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F3C8D", "#4D4D4D")  # Okabe-Ito, mostly
_MARKERS = "osD^vPX*"  # policies stay apart in black and white
_WIDTH_IN = 6.8  # of a page's text
_STEP_IN = 0.13  # from one policy's interval to the next
_GAP_IN = 0.19  # more, from one task to the next
_PANEL_IN = 0.75  # around the rows of a panel: title, axis and its label
_LEGEND_IN = 0.3  # height of one line of the legend
_LEGEND_COLUMNS = 4
_PNG_DPI = 200
_INK = "#222222"
_FAINT = "#DDDDDD"
_BAND = "#F5F5F5"
STYLE = {
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": _INK,
    "text.parse_math": False,  # names may hold a dollar
    "axes.edgecolor": "#888888",
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "pdf.fonttype": 42,  # fonts stay text
}


def save_success(table: pd.DataFrame, path: Path) -> None:
    """Draw the leaderboard's success rates, a panel for each suite, and save them as PNG or PDF."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        figure = _draw(table)
        metadata = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": ""}  # same table, same file
        figure.savefig(path, dpi=_PNG_DPI, metadata=metadata)


def _draw(table: pd.DataFrame) -> Figure:
    panels = list(sections(table))
    policies = list(dict.fromkeys(table["policy"]))
    heights = [_panel_height(part) for _, part in panels]
    legend = _LEGEND_IN * -(-len(policies) // _LEGEND_COLUMNS) + 0.1
    figure = Figure(figsize=(_WIDTH_IN, sum(heights) + legend))
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.06)  # inches
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, (title, part) in zip(axes, panels, strict=True):
        _draw_panel(panel, title, part, policies)
    axes[-1].set_xlabel("success rate [%], 95 % interval")
    handles = [_handle(policies, policy) for policy in policies]
    figure.legend(handles=handles, loc="outside upper center", ncols=_LEGEND_COLUMNS, frameon=False)
    return figure


def _draw_panel(panel: Axes, title: str, part: pd.DataFrame, policies: Sequence[str]) -> None:
    """Draw one suite: a band for each task, in it an interval for each policy, the best policy on top. Unit: inch."""
    tasks = _tasks(part)
    present = list(dict.fromkeys(part["policy"]))
    band = _band_height(part)
    for index in range(1, len(tasks) - 1, 2):
        panel.axhspan(index * band, (index + 1) * band, color=_BAND, linewidth=0, zorder=0)
    for place, policy in enumerate(present):
        rows = part[part["policy"] == policy]
        y = rows["task"].map(tasks.index) * band + _GAP_IN / 2 + _STEP_IN * (place + 0.5)
        _draw_intervals(panel, rows, y, _handle(policies, policy))
    panel.axhline((len(tasks) - 1) * band, color=_INK, linewidth=0.8)
    panel.set_yticks([(index + 0.5) * band for index in range(len(tasks))], [_task_label(task) for task in tasks])
    panel.get_yticklabels()[-1].set_fontweight("bold")
    panel.tick_params(axis="y", length=0)
    panel.set_ylim(len(tasks) * band, 0.0)
    panel.set_xlim(-2.0, 102.0)  # room for a marker at either end
    panel.set_xticks(range(0, 101, 20))
    panel.grid(axis="x", color=_FAINT, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.set_title(title, loc="left", fontweight="bold", fontsize=9.5)


def _draw_intervals(panel: Axes, rows: pd.DataFrame, y: "pd.Series[float]", style: Line2D) -> None:
    """Draw one policy's intervals at the heights `y`; hollow markers where planned episodes are missing."""
    colour = style.get_color()
    panel.hlines(y, 100.0 * rows["success_low"], 100.0 * rows["success_high"], color=colour, linewidth=1.4, zorder=3)
    for unfinished, face in ((False, colour), (True, "white")):
        chosen = (rows["missing"] > 0) == unfinished
        rates = 100.0 * rows.loc[chosen, "success_rate"]
        (points,) = panel.plot(rates, y[chosen], color=colour, linestyle="none", marker=style.get_marker(), zorder=4)
        points.set(markersize=5.0, markerfacecolor=face, clip_on=False, in_layout=False)


def _handle(policies: Sequence[str], policy: str) -> Line2D:
    """Return the line style of `policy`, which is the same in every panel."""
    number = policies.index(policy)
    colour = _COLOURS[number % len(_COLOURS)]
    marker = _MARKERS[(number + number // len(_COLOURS)) % len(_MARKERS)]  # shifted each time the colours come again
    return Line2D([], [], color=colour, marker=marker, markersize=5.0, linewidth=1.4, label=policy)


def _tasks(part: pd.DataFrame) -> list[str]:
    return [*sorted(set(part["task"]) - {ALL_TASKS}), ALL_TASKS]


def _task_label(task: str) -> str:
    return "all tasks" if task == ALL_TASKS else task.replace("_", " ")


def _band_height(part: pd.DataFrame) -> float:
    return _GAP_IN + _STEP_IN * part["policy"].nunique()


def _panel_height(part: pd.DataFrame) -> float:
    return _PANEL_IN + _band_height(part) * len(_tasks(part))
