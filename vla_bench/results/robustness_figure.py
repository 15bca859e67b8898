"""The drops as a figure: a panel of severities, a line an axis."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vla_bench.results.figures import STYLE
from vla_bench.results.leaderboard import ALL_TASKS

_COLUMNS = 4
_PANEL_IN = (1.75, 1.5)
_COLOUR = "#0072B2"


def save_robustness(table: pd.DataFrame, path: Path, names: Mapping[str, str] | None = None) -> bool:
    """Draw the drop against the severity of each axis and named set, with its interval, and save it.

    `names` are shorter ones of perturbations, as `set-severity`. Return whether there was anything to draw: what is
    neither a single axis nor a named set has no severity.
    """
    single = table[table["task"] == ALL_TASKS].copy()
    single["variant"] = single["variant"].replace(dict(names or {})).str.replace("-", "=")
    single = single[~single["variant"].str.contains(",")]
    if single.empty:
        return False
    single[["axis", "severity"]] = single["variant"].str.split("=", expand=True)
    panels = list(single.groupby("axis"))
    lines = -(-len(panels) // _COLUMNS)
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(_PANEL_IN[0] * _COLUMNS, _PANEL_IN[1] * lines), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(lines, _COLUMNS, squeeze=False, sharex=True, sharey=True)
        for place, (axis, part) in zip(axes.flat, panels, strict=False):
            part = part.sort_values("severity")
            severity, drop = part["severity"].astype(int), 100 * part["drop"]
            below, above = drop - 100 * part["drop_low"], 100 * part["drop_high"] - drop
            place.axhline(0.0, color="#888888", linewidth=0.8)
            place.errorbar(severity, drop, (below, above), color=_COLOUR, marker="o", markersize=3.5, capsize=2)
            place.set_title(str(axis), fontsize=9)
            place.set_xticks([1, 2, 3])
        for place in axes.flat[len(panels) :]:
            place.set_visible(False)
        figure.supxlabel("severity", fontsize=9)
        figure.supylabel("drop of success [points]", fontsize=9)
        metadata = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": ""}
        figure.savefig(path, dpi=200, metadata=metadata)
    return True
