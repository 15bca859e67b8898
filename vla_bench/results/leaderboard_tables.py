"""Leaderboard tables: CSV, Markdown and LaTeX."""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from vla_bench.results.leaderboard import ALL_TASKS
from vla_bench.results.text_tables import (
    NO_VALUE,
    UNFINISHED,
    WITH_ERRORS,
    TextTable,
    latex_file,
    markdown_table,
    markdown_text,
)

_GROUP = "group"
_MAX_TASK_COLUMNS = 5  # tasks that fit next to each other on a page; with more, tasks become rows


Row = Mapping[Hashable, Any]  # one row of the leaderboard, with columns of several types


Conditions = Mapping[str, tuple[str, ...]]  # by suite


def compact_tables(table: pd.DataFrame, conditions: Conditions | None = None) -> tuple[TextTable, ...]:
    """Return one compact table per suite: success in percent with its interval, policies by tasks.

    Rows are policies, or tasks if there are too many for columns.
    """
    return tuple(
        _with_conditions(conditions, part, _compact_table(title, part)) for title, part in suite_sections(table)
    )


def full_tables(table: pd.DataFrame, conditions: Conditions | None = None) -> tuple[TextTable, ...]:
    """Return one table per suite with one row per policy and task and all measures."""
    return tuple(_with_conditions(conditions, part, _full_table(title, part)) for title, part in suite_sections(table))


def leaderboard_csv(table: pd.DataFrame) -> str:
    """Return the leaderboard as CSV with all columns; rates are 0..1."""
    return table.to_csv(index=False, float_format="%.10g", lineterminator="\n")


def leaderboard_markdown(table: pd.DataFrame, notes: Sequence[str] = (), conditions: Conditions | None = None) -> str:
    """Return a Markdown page with the compact and the full tables."""
    parts = ["# Leaderboard", LEADERBOARD_CAPTION, "\n".join(f"- {markdown_text(note)}" for note in notes)]
    for small, large in zip(compact_tables(table, conditions), full_tables(table, conditions), strict=True):
        parts.append(f"## {markdown_text(small.title)}")
        for part in (small, large):
            parts += [markdown_table(part), *(f"{markdown_text(note)}." for note in part.footnotes)]
    return "\n\n".join(filter(None, parts)) + "\n"


def latex_compact(table: pd.DataFrame, conditions: Conditions | None = None) -> str:
    """Return the compact tables as LaTeX floats."""
    return latex_file(compact_tables(table, conditions), "compact", LEADERBOARD_CAPTION)


def latex_full(table: pd.DataFrame, conditions: Conditions | None = None) -> str:
    """Return the full tables as LaTeX floats."""
    return latex_file(full_tables(table, conditions), "full", LEADERBOARD_CAPTION)


def success_cell(row: Row) -> str:
    """Return `58.3 [45.7, 69.9]`: percent and 95 % interval, with a mark if planned episodes are missing.

    With errors, the rates with errors as failures and as successes are appended: `58.3 [45.7, 69.9]† (2 errors: 50.0
    to 53.3)`.
    """
    rate, low, high = (row[f"success_{name}"] for name in ("rate", "low", "high"))
    shown = NO_VALUE if math.isnan(rate) else f"{100 * rate:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    cell = shown + UNFINISHED * bool(row["missing"])
    if not row["errors"]:
        return cell
    worst, best = (_number(100 * row[f"success_if_errors_{end}"]) for end in ("fail", "succeed"))
    return f"{cell}{WITH_ERRORS} ({row['errors']} error{'s' * (row['errors'] > 1)}: {worst} to {best})"


def suite_sections(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield title and rows of each suite, and of each variant if there are several."""
    several = table["variant"].nunique() > 1
    for (suite, variant), part in table.groupby(["suite", "variant"], sort=False):
        yield (f"{suite} ({variant})" if several or variant != "clean" else str(suite)), part


LEADERBOARD_CAPTION = (
    "Success rate in percent with its 95 % interval for other episodes of these tasks (Wilson). (all): the mean over "
    "tasks; as a sample: its interval for other tasks like these (task-clustered bootstrap). Policies that share a "
    "group are not significantly different (exact McNemar tests, Holm)."
)


def _with_conditions(conditions: Conditions | None, part: pd.DataFrame, table: TextTable) -> TextTable:
    return replace(table, conditions=(conditions or {}).get(str(part["suite"].iloc[0]), ()))


def _compact_table(title: str, part: pd.DataFrame) -> TextTable:
    cells = {(row["policy"], row["task"]): success_cell(row) for row in part.to_dict("records")}
    policies = list(dict.fromkeys(part["policy"]))
    tasks = [*sorted(set(part["task"]) - {ALL_TASKS}), ALL_TASKS]
    across, down, corner = (
        (tasks, policies, "policy") if len(tasks) <= _MAX_TASK_COLUMNS + 1 else (policies, tasks, "task")
    )
    overall = part[part["task"] == ALL_TASKS].to_dict("records")
    groups: dict[str, str] = {row["policy"]: row["group"] for row in overall}
    keys = [[(one, other) if across is tasks else (other, one) for other in across] for one in down]
    rows = [(name, *(cells.get(key, NO_VALUE) for key in row)) for name, row in zip(down, keys, strict=True)]
    header: tuple[str, ...] = (corner, *across)
    if any(groups.values()) and across is tasks:
        header, rows = (*header, _GROUP), [(*row, groups[row[0]]) for row in rows]
    elif any(groups.values()):
        rows.append((_GROUP, *(groups[policy] for policy in policies)))
    return TextTable(title, header, tuple(rows), left=1)


def _full_table(title: str, part: pd.DataFrame) -> TextTable:
    with_errors, with_ranks = bool(part["errors"].any()), bool((part["rank"] != "").any())
    rows = [
        _measures(row) | (_error_measures(row) if with_errors else {}) | (_rank_measures(row) if with_ranks else {})
        for row in part.to_dict("records")
    ]
    return TextTable(title, tuple(rows[0]), tuple(tuple(row.values()) for row in rows), left=2)


def _measures(row: Row) -> dict[str, str]:
    return {
        "policy": row["policy"],
        "task": row["task"],
        "episodes": str(row["episodes"]),
        "success %": success_cell(row),
        "as a sample": _interval(row["sampled_low"], row["sampled_high"]),
        "reward": _mean_and_spread(row["mean_reward"], row["std_reward"]),
        "steps": _number(row["mean_steps"]),
        "progress %": _number(100 * row["mean_progress"]),
    }


def _error_measures(row: Row) -> dict[str, str]:
    return {
        "errors": str(row["errors"]),
        "if errors fail %": _number(100 * row["success_if_errors_fail"]),
        "if errors succeed %": _number(100 * row["success_if_errors_succeed"]),
    }


def _rank_measures(row: Row) -> dict[str, str]:
    return {"rank": row["rank"] or NO_VALUE, _GROUP: row["group"] or NO_VALUE}


def _interval(low: float, high: float) -> str:
    return NO_VALUE if math.isnan(low) else f"[{100 * low:.1f}, {100 * high:.1f}]"


def _number(value: float, digits: int = 1) -> str:
    return NO_VALUE if math.isnan(value) else f"{value:.{digits}f}"


def _mean_and_spread(mean: float, std: float) -> str:
    return _number(mean, 2) if math.isnan(std) else f"{mean:.2f} ± {std:.2f}"
