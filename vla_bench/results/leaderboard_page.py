"""Leaderboard files: tables, figure of success rates and HTML report (without network or server)."""

import base64
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import matplotlib as mpl
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vla_bench.core.files import written_whole
from vla_bench.results import leaderboard_tables
from vla_bench.results.controls import control_folders, control_table, read_controls
from vla_bench.results.leaderboard import ALL_TASKS, leaderboard, missing_episodes
from vla_bench.results.leaderboard_tables import LEADERBOARD_CAPTION, suite_sections
from vla_bench.results.notes import conditions_of, leaderboard_notes
from vla_bench.results.run_info import Session
from vla_bench.results.runs import Run, error_groups, merged_episodes, read_comparable_runs
from vla_bench.results.text_tables import TextTable, markdown_table, markdown_text

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F3C8D", "#4D4D4D")  # mostly Okabe-Ito
_MARKERS = "osD^vPX*"  # policies are distinguishable in black and white
_WIDTH_IN = 6.8  # text width of a page
_STEP_IN = 0.13  # between the intervals of two policies
_GAP_IN = 0.19  # additional distance between two tasks
_PANEL_IN = 0.75  # title, axis and label of a panel
_LEGEND_IN = 0.3  # height of a legend line
_LEGEND_COLUMNS = 4
_PNG_DPI = 200
_TEXT_COLOR = "#222222"
_GRID_COLOR = "#DDDDDD"
_BAND_COLOR = "#F5F5F5"
FIGURE_STYLE = {
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": _TEXT_COLOR,
    "text.parse_math": False,  # names may contain a dollar sign
    "axes.edgecolor": "#888888",
    "axes.labelcolor": _TEXT_COLOR,
    "xtick.color": _TEXT_COLOR,
    "ytick.color": _TEXT_COLOR,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "pdf.fonttype": 42,  # embed fonts as text
}


def save_success_figure(table: pd.DataFrame, path: Path) -> None:
    """Plot the success rates, one panel per suite, and save the figure as PNG or PDF."""
    with mpl.rc_context(FIGURE_STYLE):  # type: ignore[arg-type]
        figure = _success_figure(table)
        # equal tables give equal files
        metadata = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": ""}
        figure.savefig(path, dpi=_PNG_DPI, metadata=metadata)


def _success_figure(table: pd.DataFrame) -> Figure:
    panels = list(suite_sections(table))
    policies = list(dict.fromkeys(table["policy"]))
    heights = [_panel_height(part) for _, part in panels]
    legend = _LEGEND_IN * -(-len(policies) // _LEGEND_COLUMNS) + 0.1
    figure = Figure(figsize=(_WIDTH_IN, sum(heights) + legend))
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.06)  # inches
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, (title, part) in zip(axes, panels, strict=True):
        _plot_panel(panel, title, part, policies)
    axes[-1].set_xlabel("success rate [%], 95 % interval")
    handles = [_line_style(policies, policy) for policy in policies]
    figure.legend(handles=handles, loc="outside upper center", ncols=_LEGEND_COLUMNS, frameon=False)
    return figure


def _plot_panel(panel: Axes, title: str, part: pd.DataFrame, policies: Sequence[str]) -> None:
    """Plot one suite: a band per task with one interval per policy, best policy on top. Unit: inch."""
    tasks = _task_order(part)
    present = list(dict.fromkeys(part["policy"]))
    band = _band_height(part)
    for index in range(1, len(tasks) - 1, 2):
        panel.axhspan(index * band, (index + 1) * band, color=_BAND_COLOR, linewidth=0, zorder=0)
    for place, policy in enumerate(present):
        rows = part[part["policy"] == policy]
        y = rows["task"].map(tasks.index) * band + _GAP_IN / 2 + _STEP_IN * (place + 0.5)
        _plot_intervals(panel, rows, y, _line_style(policies, policy))
    panel.axhline((len(tasks) - 1) * band, color=_TEXT_COLOR, linewidth=0.8)
    panel.set_yticks([(index + 0.5) * band for index in range(len(tasks))], [_task_label(task) for task in tasks])
    panel.get_yticklabels()[-1].set_fontweight("bold")
    panel.tick_params(axis="y", length=0)
    panel.set_ylim(len(tasks) * band, 0.0)
    panel.set_xlim(-2.0, 102.0)  # space for markers at both ends
    panel.set_xticks(range(0, 101, 20))
    panel.grid(axis="x", color=_GRID_COLOR, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.set_title(title, loc="left", fontweight="bold", fontsize=9.5)


def _plot_intervals(panel: Axes, rows: pd.DataFrame, y: "pd.Series[float]", style: Line2D) -> None:
    """Plot the intervals of one policy at the heights `y`; hollow markers if planned episodes are missing."""
    color = style.get_color()
    panel.hlines(y, 100.0 * rows["success_low"], 100.0 * rows["success_high"], color=color, linewidth=1.4, zorder=3)
    for unfinished, face in ((False, color), (True, "white")):
        chosen = (rows["missing"] > 0) == unfinished
        rates = 100.0 * rows.loc[chosen, "success_rate"]
        (points,) = panel.plot(rates, y[chosen], color=color, linestyle="none", marker=style.get_marker(), zorder=4)
        points.set(markersize=5.0, markerfacecolor=face, clip_on=False, in_layout=False)


def _line_style(policies: Sequence[str], policy: str) -> Line2D:
    """Return the line style of `policy`, which is the same in every panel."""
    number = policies.index(policy)
    color = _COLORS[number % len(_COLORS)]
    marker = _MARKERS[(number + number // len(_COLORS)) % len(_MARKERS)]  # shifted with every repetition of the colors
    return Line2D([], [], color=color, marker=marker, markersize=5.0, linewidth=1.4, label=policy)


def _task_order(part: pd.DataFrame) -> list[str]:
    return [*sorted(set(part["task"]) - {ALL_TASKS}), ALL_TASKS]


def _task_label(task: str) -> str:
    return "all tasks" if task == ALL_TASKS else task.replace("_", " ")


def _band_height(part: pd.DataFrame) -> float:
    return _GAP_IN + _STEP_IN * part["policy"].nunique()


def _panel_height(part: pd.DataFrame) -> float:
    return _PANEL_IN + _band_height(part) * len(_task_order(part))


_TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class FailurePhase:
    """Number of failed episodes of one policy and suite in one phase."""

    phase: str
    count: int
    share: float  # fraction of the failures, 0..1


def report_page(
    runs: Sequence[Run],
    frame: pd.DataFrame,
    suites: Sequence[tuple[TextTable, TextTable]],
    notes: Sequence[str],
    *,
    controls: Sequence[TextTable],
    figure: Path,
    output: Path,
) -> str:
    """Return the HTML page with the compact and the full table of each suite and the tables of controls.

    Links to the files of the runs are relative to `output`, the folder of the page.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["command"] = shlex.join
    environment.filters["link"] = lambda path: quote(Path(os.path.relpath(path, output)).as_posix())
    return environment.get_template(_TEMPLATE).render(
        caption=LEADERBOARD_CAPTION,
        notes=notes,
        suites=suites,
        controls=controls,
        figure=base64.b64encode(figure.read_bytes()).decode("ascii"),
        failures=failure_phases(frame),
        errors=error_groups(frame),
        runs=runs,
        git=_commit_text,
    )


def failure_phases(frame: pd.DataFrame) -> dict[tuple[str, str], list[FailurePhase]]:
    """Return the phases in which failed episodes ended, most frequent first, by suite and policy."""
    failed = frame[frame["outcome"] == "failure"]
    phases = {}
    for (suite, policy), part in failed.groupby(["suite", "policy"]):
        counts = part["phase"].replace("", "(none)").value_counts()
        phases[str(suite), str(policy)] = [
            FailurePhase(str(phase), int(count), int(count) / len(part)) for phase, count in counts.items()
        ]
    return phases


def _commit_text(session: Session) -> str:
    if not session.git.commit:
        return "not run from a clone"
    return session.git.commit[:12] + (" with uncommitted changes" if session.git.dirty else "")


@dataclass(frozen=True)
class LeaderboardFiles:
    """Files and data written by `write_leaderboard`."""

    table: pd.DataFrame
    conditions: dict[str, tuple[str, ...]]  # evaluation conditions by suite
    notes: tuple[str, ...]  # warnings: unfinished runs, unpaired episodes, ...
    csv: Path
    markdown: Path
    latex: Path  # policies x tasks
    latex_full: Path  # one row per policy and task
    png: Path
    pdf: Path
    report: Path
    controls: tuple[TextTable, ...] = ()  # of runs with controls

    def suites(self) -> list[tuple[TextTable, TextTable]]:
        """Return the compact and the full table of each suite."""
        made = (
            kind(self.table, self.conditions)
            for kind in (leaderboard_tables.compact_tables, leaderboard_tables.full_tables)
        )
        return list(zip(*made, strict=True))

    @property
    def controls_markdown(self) -> Path:
        """The page of controls; it exists if a run has any."""
        return self.markdown.with_name("controls.md")

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files."""
        controls = (self.controls_markdown,) if self.controls else ()
        return (*controls, self.report, self.csv, self.markdown, self.latex, self.latex_full, self.png, self.pdf)


def write_leaderboard(
    run_folders: Iterable[Path | str], output: Path, *, rank_with_errors: bool = False
) -> LeaderboardFiles:
    """Write the leaderboard of the runs as CSV, Markdown, LaTeX, figure and report into the folder `output`."""
    runs = read_comparable_runs(run_folders)
    frame = merged_episodes(runs)
    table = leaderboard(frame, missing_episodes(runs), rank_with_errors=rank_with_errors)
    files = LeaderboardFiles(
        table=table,
        conditions=conditions_of(runs),
        notes=leaderboard_notes(runs, frame, rank_with_errors=rank_with_errors),
        csv=output / "leaderboard.csv",
        markdown=output / "leaderboard.md",
        latex=output / "leaderboard.tex",
        latex_full=output / "leaderboard_full.tex",
        png=output / "success.png",
        pdf=output / "success.pdf",
        report=output / "report.html",
        controls=tuple(
            control_table(report) for run in runs if control_folders(run.folder) for report in read_controls(run.folder)
        ),
    )
    _write_text(files.csv, leaderboard_tables.leaderboard_csv(table))
    _write_text(files.markdown, leaderboard_tables.leaderboard_markdown(table, files.notes, files.conditions))
    _write_text(files.latex, leaderboard_tables.latex_compact(table, files.conditions))
    _write_text(files.latex_full, leaderboard_tables.latex_full(table, files.conditions))
    if files.controls:
        _write_text(files.controls_markdown, _controls_page(files.controls))
    for path in (files.png, files.pdf):
        with written_whole(path) as temporary:
            save_success_figure(table, temporary)
    _write_text(
        files.report,
        report_page(runs, frame, files.suites(), files.notes, controls=files.controls, figure=files.png, output=output),
    )
    return files


def _controls_page(made: Sequence[TextTable]) -> str:
    parts = ["# Controls"]
    for table in made:
        parts += [f"## {markdown_text(table.title)}", markdown_table(table)]
        parts += [f"{markdown_text(note)}." for note in table.footnotes]
    return "\n\n".join(parts) + "\n"


def _write_text(path: Path, text: str) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
