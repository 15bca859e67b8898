"""Failed episodes grouped by what went wrong, compared with the expert on the same episodes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vla_bench.results.controls import control_folders
from vla_bench.results.episode_record import KEY
from vla_bench.results.leaderboard_tables import Row
from vla_bench.results.notes import conditions_of, provenance
from vla_bench.results.pairing import require_same_episodes
from vla_bench.results.runs import Run, read_run
from vla_bench.results.text_tables import NO_VALUE, TextTable, markdown_table, markdown_text

FAILURE_COLUMNS: dict[str, type] = {
    "suite": str,
    "task": str,
    "variant": str,
    "episode_index": int,
    "seed": int,
    "bucket": str,
    "phase": str,  # furthest phase reached
    "progress": float,
    "final_progress": float,
    "steps": int,
    "drops": int,
    "disturbed": int,
    "path_length_m": float,
    "peak_force_n": float,
    "path_over_expert": float,  # path length divided by the expert's in the same episode; NaN if unknown
    "time_over_expert": float,  # the same for control steps; failed episodes usually reach the horizon
    "video": str,  # in the run folder, if one was recorded
}

_BUCKETS: dict[str, Callable[[Row], bool]] = {  # first matching bucket; see docs/ledger.md
    "lost again what was reached": lambda one: _number(one, "final_progress") < _number(one, "progress"),
    "dropped it": lambda one: _number(one, "drops") > 0,
    "met some sub-goals": lambda one: _number(one, "progress") > 0,
    "held it, did not place it": lambda one: one["phase"] in ("carry", "lift", "place", "release"),
    "touched it, did not grasp it": lambda one: one["phase"] == "grasp",
    "took hold, did not move it": lambda one: one["phase"] in ("push", "operate"),
    "moved something else": lambda one: _number(one, "disturbed") > 0,
    "never reached it": lambda one: True,
}


@dataclass(frozen=True)
class FailureReport:
    """The failed episodes of a run."""

    run: Run
    table: pd.DataFrame  # one row each, `FAILURE_COLUMNS`, most frequent bucket first
    episodes: int  # of the run, without errors
    expert: Path | None  # the run to compare with
    solved: tuple[float, float]  # of successful episodes: median path and time divided by the expert's


def read_failures(folder: Path, expert: Path | None = None) -> FailureReport:
    """Return the failures of the run in `folder`, compared with the expert on the same episodes.

    Without `expert`, the expert among the controls of the run is used, if there is one. Raise `IncomparableRunsError`
    if the expert run has another protocol or other scenes.
    """
    run = read_run(folder)
    expert = expert or control_folders(folder).get("expert")
    own = _compared_with_expert(run, expert)
    failed, solved = own[own["outcome"] == "failure"].copy(), own[own["outcome"] == "success"]
    failed["bucket"] = [_bucket(one) for one in failed.to_dict("records")]
    failed["video"] = [_video(folder, one) for one in failed.to_dict("records")]
    order = failed["bucket"].map(failed["bucket"].value_counts())
    failed = failed.assign(_often=order).sort_values(["_often", "bucket", *KEY], ascending=[False] + [True] * 6)
    return FailureReport(
        run,
        failed[list(FAILURE_COLUMNS)].astype(FAILURE_COLUMNS).reset_index(drop=True),
        int((own["outcome"] != "error").sum()),
        expert,
        (float(solved["path_over_expert"].median()), float(solved["time_over_expert"].median())),
    )


def failure_table(report: FailureReport) -> TextTable:
    """Return one row per bucket: number of episodes, tasks, and path and time relative to the expert."""
    table = report.table
    rows = [
        (
            str(bucket),
            f"{len(part)}",
            f"{100 * len(part) / report.episodes:.0f}",
            _ratio_cell(part["path_over_expert"].median()),
            _ratio_cell(part["time_over_expert"].median()),
            ", ".join(f"{task} {count}" for task, count in part["task"].value_counts().items()),
        )
        for bucket, part in table.groupby("bucket", sort=False)
    ]
    header = ("failure", "episodes", "fraction %", "path / expert", "time / expert", "tasks")
    title = f"{report.run.info.policy}: {len(table)} of {report.episodes} episodes failed"
    return TextTable(title, header, tuple(rows), left=1, conditions=_conditions(report))


def episode_table(report: FailureReport) -> TextTable:
    """Return one row per failed episode, grouped by bucket, with its video file."""
    several = report.table["variant"].nunique() > 1 or (report.table["variant"] != "clean").any()
    rows = [
        (
            row["bucket"],
            f"{row['task']}/{row['variant']}/{row['seed']}/{row['episode_index']}"
            if several
            else f"{row['task']}/{row['episode_index']}",
            row["video"] or NO_VALUE,
            row["phase"] or NO_VALUE,
            f"{100 * row['progress']:.0f}",
            str(row["steps"]),
            _ratio_cell(row["path_over_expert"]),
            *(_value_cell(row[name]) for name in ("drops", "disturbed", "peak_force_n")),
        )
        for row in report.table.to_dict("records")
    ]
    header = (
        *("failure", "episode", "video", "phase", "progress %", "steps", "path / expert"),
        *("drops", "disturbed", "peak force [N]"),
    )
    return TextTable("Each failed episode", header, tuple(rows), left=4)


def failures_page(reports: Sequence[FailureReport]) -> str:
    """Return the buckets and the episodes of several runs as Markdown."""
    parts = ["# Failures", _EXPLANATION]
    for report in reports:
        buckets, single = failure_table(report), episode_table(report)
        parts += [f"## {markdown_text(buckets.title)}", *([markdown_table(buckets)] if buckets.rows else [])]
        parts += [f"{markdown_text(note)}." for note in buckets.footnotes]
        parts += [f"### {single.title}", markdown_table(single)] if single.rows else []
    return "\n\n".join(parts) + "\n"


def failures_csv(reports: Sequence[FailureReport]) -> str:
    """Return every failed episode of several runs."""
    table = pd.concat([report.table.assign(policy=report.run.info.policy) for report in reports], ignore_index=True)
    return table[["policy", *FAILURE_COLUMNS]].to_csv(index=False, float_format="%.10g", lineterminator="\n")


_EXPLANATION = (
    "A failure is the first matching line of the table in docs/ledger.md. `vla-bench rerun RUN EPISODE` runs "
    "an episode again, `vla-bench branch RUN EPISODE --at STEP` lets the expert continue from a step."
)


def _conditions(report: FailureReport) -> tuple[str, ...]:
    suites = conditions_of([report.run])
    notes = [*(note for suite in report.run.suites for note in suites.get(suite, ())), provenance([report.run])]
    if report.expert is None:
        return ("Path and time relative to the expert: unknown, no run of the expert was given", *notes)
    path, time = (_ratio_cell(value) for value in report.solved)
    return (
        "Path and time: medians of the ratio to the expert in the same episode",
        f"In successful episodes: path {path}, time {time} times the expert's",
        *notes,
    )


def _ratio_cell(ratio: float) -> str:
    return NO_VALUE if math.isnan(ratio) else f"{ratio:.2f}"


def _value_cell(value: float) -> str:
    return NO_VALUE if value < 0 else f"{value:.0f}"


def _compared_with_expert(run: Run, expert: Path | None) -> pd.DataFrame:
    """Return the episodes of the run with path and time relative to the expert, NaN if unknown."""
    own = run.episodes.copy()
    own["path_over_expert"] = own["time_over_expert"] = math.nan
    if expert is None:
        return own
    reference = read_run(expert)
    require_same_episodes(run, reference)
    theirs = reference.episodes[reference.episodes["outcome"] == "success"].set_index(list(KEY))
    theirs = theirs.reindex(pd.MultiIndex.from_frame(own[list(KEY)])).reset_index(drop=True)
    known = (own["path_length_m"] >= 0) & (theirs["path_length_m"] > 0)
    own.loc[known, "path_over_expert"] = own["path_length_m"] / theirs["path_length_m"]
    own["time_over_expert"] = own["steps"] / theirs["steps"]
    return own


def _bucket(one: Row) -> str:
    return next(name for name, fits in _BUCKETS.items() if fits(one))


def _number(one: Row, name: str) -> float:
    return float(str(one[name]))


def _video(run: Path, one: Row) -> str:
    name = "{suite}.{task}_{variant}_seed{seed}_{episode_index:04d}.mp4".format(
        **{str(key): value for key, value in one.items()}
    )
    return f"videos/{name}" if (run / "videos" / name).is_file() else ""
