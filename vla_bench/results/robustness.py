"""The success lost under perturbations: table, figure and page.

Each perturbed episode is paired with the clean episode of the same scene.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vla_bench.core.episode import CLEAN, other_kind_of_scene_hash
from vla_bench.core.errors import VlaBenchError
from vla_bench.core.files import written_whole
from vla_bench.results.certificates import CERTIFICATES_NAME, read_certificates
from vla_bench.results.leaderboard import ALL_TASKS
from vla_bench.results.leaderboard_page import FIGURE_STYLE
from vla_bench.results.notes import conditions_of
from vla_bench.results.runs import read_run
from vla_bench.results.statistics.multiple_comparisons import holm
from vla_bench.results.statistics.paired import PairCounts, mcnemar_exact, mean_difference
from vla_bench.results.statistics.proportions import fixed_tasks
from vla_bench.results.text_tables import NO_VALUE, TextTable, markdown_table, markdown_text

ROBUSTNESS_COLUMNS: dict[str, type] = {
    "policy": str,
    "suite": str,
    "variant": str,  # the perturbation
    "task": str,  # (all): the suite average with equal weight of each task
    "pairs": int,  # scenes with a clean and a perturbed episode
    "certified": float,  # fraction of the tried perturbed episodes that the expert solves, 0..1
    "replaced": int,  # episodes that the expert does not solve, replaced by later indices
    "clean_rate": float,  # 0..1, of those pairs
    "perturbed_rate": float,
    "perturbed_low": float,  # Wilson interval; for (all): of the mean over tasks, as in the leaderboard
    "perturbed_high": float,
    "drop": float,  # clean minus perturbed, -1..1, with its 95 % interval
    "drop_low": float,
    "drop_high": float,
    "p": float,  # exact McNemar, two-sided
    "p_holm": float,  # adjusted over the perturbations of the suite; for a task also over tasks
}
_PAIR_COLUMNS = ("suite", "task", "episode_index", "seed")


def read_robustness(run: Path) -> pd.DataFrame:
    """Return one row per perturbation and task, and one for all tasks.

    Pairs with an episode that ended in an error are excluded. Raise `VlaBenchError` without clean episodes, without
    certificates, or if a scene differs from the certified one.
    """
    policy, certificates = read_run(run), read_certificates(run / CERTIFICATES_NAME)
    _require_same_scenes(run, policy.episodes, certificates)
    episodes = policy.episodes[policy.episodes["outcome"] != "error"]
    clean = episodes[episodes["variant"] == CLEAN].set_index(list(_PAIR_COLUMNS))["outcome"] == "success"
    if clean.empty:
        raise VlaBenchError(f"{run} has no clean episodes to compare perturbed episodes with.")
    rows = []
    for (suite, variant), part in episodes[episodes["variant"] != CLEAN].groupby(["suite", "variant"], sort=False):
        perturbed = part.set_index(list(_PAIR_COLUMNS))["outcome"] == "success"
        both = clean.index.intersection(perturbed.index)
        share = _certified_fractions(certificates, str(suite), str(variant))
        counts = {
            str(task): PairCounts.of(clean.loc[index], perturbed.loc[index]) for task, index in _by_task(both).items()
        }
        place = {"policy": policy.info.policy, "suite": suite, "variant": variant}
        rows += [{**place, "task": task, **_row([one]), **share[task]} for task, one in counts.items()]
        rows.append({**place, "task": ALL_TASKS, **_row(list(counts.values())), **share[ALL_TASKS]})
    table = pd.DataFrame(rows, columns=list(ROBUSTNESS_COLUMNS))
    table["p_holm"] = table["p"]
    for _, part in table.groupby(["suite", table["task"] == ALL_TASKS]):
        table.loc[part.index, "p_holm"] = holm(part["p"].tolist())
    return table.astype(ROBUSTNESS_COLUMNS)


def robustness_table(table: pd.DataFrame, names: Mapping[str, str] | None = None) -> TextTable:
    """Return the averages over tasks, largest drop first; `names` are short names of perturbations."""
    averages = table[table["task"] == ALL_TASKS].sort_values("drop", ascending=False, kind="stable")
    rows = [
        (
            (names or {}).get(str(row["variant"]), str(row["variant"])),
            str(row["pairs"]),
            f"{100 * row['certified']:.0f}",
            str(row["replaced"]),
            f"{100 * row['clean_rate']:.1f}",
            f"{100 * row['perturbed_rate']:.1f} [{100 * row['perturbed_low']:.1f}, {100 * row['perturbed_high']:.1f}]",
            f"{100 * row['drop']:.1f} [{100 * row['drop_low']:.1f}, {100 * row['drop_high']:.1f}]",
            f"{row['p_holm']:.3f}" if row["p_holm"] >= 0.001 else "<0.001",
        )
        for row in averages.to_dict("records")
    ]
    policy = ", ".join(dict.fromkeys(table["policy"])) or NO_VALUE
    header = ("perturbation", "pairs", "certified", "replaced", "clean", "perturbed", "drop", "p (Holm)")
    note = (
        "Success in percent on the same scenes, with 95 % intervals; the drop in percentage points, paired. Certified: "
        "fraction of the tried perturbed episodes that the expert solves; only those are used, each of the others is "
        "replaced by the episode of the next index, if there is one. p: exact McNemar test, Holm-adjusted "
        "over the perturbations."
    )
    return TextTable(f"Robustness of {policy}", header, tuple(rows), left=1, conditions=(note,))


def _by_task(index: "pd.Index[Any]") -> dict[str, "pd.Index[Any]"]:
    tasks = index.get_level_values("task")
    return {str(task): index[tasks == task] for task in tasks.unique()}


def _row(tasks: list[PairCounts]) -> dict[str, float]:
    total = sum(tasks[1:], start=tasks[0])
    successes = [task.both + task.second_only for task in tasks]
    perturbed, drop = fixed_tasks(successes, [task.pairs for task in tasks]), mean_difference(tasks)
    return {
        "pairs": total.pairs,
        "clean_rate": sum(task.first_rate for task in tasks) / len(tasks),
        "perturbed_rate": perturbed.rate,
        "perturbed_low": perturbed.low,
        "perturbed_high": perturbed.high,
        "drop": drop.value,
        "drop_low": drop.low,
        "drop_high": drop.high,
        "p": mcnemar_exact(total),
    }


def _certified_fractions(certificates: pd.DataFrame, suite: str, variant: str) -> dict[str, dict[str, float]]:
    own = certificates[(certificates["suite"] == suite) & (certificates["variant"] == variant)]
    own = own[own["error"] == ""]
    parts = {**{str(task): part for task, part in own.groupby("task")}, ALL_TASKS: own}
    return {
        task: {"certified": float(part["solved"].mean()), "replaced": int((~part["solved"]).sum())}
        for task, part in parts.items()
    }


def _require_same_scenes(run: Path, episodes: pd.DataFrame, certificates: pd.DataFrame) -> None:
    """Raise `VlaBenchError` if an episode has no certificate or another scene than the certified one."""
    key = [*_PAIR_COLUMNS, "variant"]
    judged = episodes[episodes["outcome"] != "error"]
    both = judged.merge(certificates[certificates["solved"]], how="left", on=key, suffixes=("", "_certified"))
    others = both[both["scene_hash"] != both["scene_hash_certified"]]
    if not others.empty:
        first = others.iloc[0]
        certified = first["scene_hash_certified"]  # NaN without certificate
        if isinstance(certified, str) and (kinds := other_kind_of_scene_hash(first["scene_hash"], certified)):
            raise VlaBenchError(f"The scenes of {run} cannot be compared with its certificates: {kinds}. Run it again.")
        raise VlaBenchError(
            f"{len(others)} episodes of {run} have other scenes than their certificates, such as {first['task']}/"
            f"{first['variant']}/{first['episode_index']}: the code has changed in between. Use another output folder."
        )


_PANEL_COLUMNS = 4
_PANEL_SIZE_IN = (1.75, 1.5)
_LINE_COLOR = "#0072B2"


def save_robustness_figure(table: pd.DataFrame, path: Path, names: Mapping[str, str] | None = None) -> bool:
    """Plot the drop with its interval against the severity of each axis and named set, and save the figure.

    `names` are short names of perturbations, as `set-severity`. Return whether there was anything to plot: only single
    axes and named sets have a severity.
    """
    single = table[table["task"] == ALL_TASKS].copy()
    single["variant"] = single["variant"].replace(dict(names or {})).str.replace("-", "=")
    single = single[~single["variant"].str.contains(",")]
    if single.empty:
        return False
    single[["axis", "severity"]] = single["variant"].str.split("=", expand=True)
    panels = list(single.groupby("axis"))
    lines = -(-len(panels) // _PANEL_COLUMNS)
    with mpl.rc_context(FIGURE_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(_PANEL_SIZE_IN[0] * _PANEL_COLUMNS, _PANEL_SIZE_IN[1] * lines), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(lines, _PANEL_COLUMNS, squeeze=False, sharex=True, sharey=True)
        for place, (axis, part) in zip(axes.flat, panels, strict=False):
            part = part.sort_values("severity")
            severity, drop = part["severity"].astype(int), 100 * part["drop"]
            below, above = drop - 100 * part["drop_low"], 100 * part["drop_high"] - drop
            place.axhline(0.0, color="#888888", linewidth=0.8)
            place.errorbar(severity, drop, (below, above), color=_LINE_COLOR, marker="o", markersize=3.5, capsize=2)
            place.set_title(str(axis), fontsize=9)
            place.set_xticks([1, 2, 3])
        for place in axes.flat[len(panels) :]:
            place.set_visible(False)
        figure.supxlabel("severity", fontsize=9)
        figure.supylabel("drop of success [points]", fontsize=9)
        metadata = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": ""}
        figure.savefig(path, dpi=200, metadata=metadata)
    return True


def write_robustness(run: Path, stem: Path, names: Mapping[str, str] | None = None) -> list[Path]:
    """Write `stem` with .md, .csv and, if there is anything to plot, .png for a run folder; return the files.

    `names` are short names of perturbations.
    """
    table = read_robustness(run)
    with written_whole(stem.with_name(f"{stem.name}.csv")) as path:
        table.to_csv(path, index=False, float_format="%.10g", lineterminator="\n")
    text, notes = robustness_table(table, names), robustness_notes(run)
    with written_whole(stem.with_name(f"{stem.name}.md")) as path:
        path.write_text(_page(text, notes), encoding="utf-8")
    plotted = save_robustness_figure(table, stem.with_name(f"{stem.name}.png"), names)
    return [stem.with_name(f"{stem.name}{suffix}") for suffix in (".md", ".csv", *([".png"] if plotted else []))]


def robustness_notes(folder: Path) -> tuple[str, ...]:
    """Return the conditions of the run, and the tasks without episodes of a perturbation."""
    run = read_run(folder)
    tasks = set(run.episodes["task"])
    there = run.episodes.groupby("variant")["task"].agg(set)
    lacking = {str(variant): sorted(tasks - own) for variant, own in there.items() if tasks - own}
    without = [f"Without episodes of {variant}: {', '.join(names)}" for variant, names in lacking.items()]
    return (*without, *(note for notes in conditions_of([run]).values() for note in notes))


def _page(table: TextTable, notes: tuple[str, ...]) -> str:
    lines = "\n".join(f"- {markdown_text(line)}" for line in (*table.footnotes, *notes))
    return f"# {markdown_text(table.title)}\n\n{markdown_table(table)}\n\n{lines}\n"
