"""A comparison as tables for a terminal, Markdown and LaTeX, and as CSV."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import pandas as pd

from vla_bench.results.comparison import Comparison
from vla_bench.results.leaderboard import ALL_TASKS
from vla_bench.results.notes import conditions_of
from vla_bench.results.tables import Row, TextTable, latex_file, markdown_table, markdown_text, sections
from vla_bench.results.verdicts import p_text, verdicts

_NOTHING = "\N{EN DASH}"
_DIFFERENCE_HEADER = ("difference", "wins", "losses", "pairs", "p", "p (Holm)", "detectable")
_ERROR_HEADER = ("errors", "worst case", "best case")
_CAPTION = (
    "Success in percent and its difference in percentage points on identical episodes, with 95 % intervals. "
    "Wins and losses: episodes in which only the first, only the second succeeded. p: exact McNemar test, adjusted "
    "over tasks by Holm's method. Detectable: the difference that so many episodes find with power {power:g} at level "
    "{alpha:g}."
)
_ERRORS = "Worst and best case: the difference with errors taken against and for the first policy."
_RANKS = "Policies that share a letter were not told apart (exact McNemar tests of all pairs, Holm)."


def overview(comparison: Comparison) -> tuple[TextTable, ...]:
    """Return for each suite what is read first: of two policies their tasks, of more the ranks and the averages."""
    if len(comparison.runs.labels) == 2:
        return comparison_tables(comparison)
    parts = sections(comparison.pairs)
    return tuple(_under(comparison, part, table) for title, part in parts for table in _ranks(comparison, title, part))


def comparison_tables(comparison: Comparison) -> tuple[TextTable, ...]:
    """Return for each suite: the ranks, where there are more than two policies, and a table a pair of policies."""
    tables: list[TextTable] = []
    for title, part in sections(comparison.pairs):
        made = list(_ranks(comparison, title, part)) if len(comparison.runs.labels) > 2 else []
        made += [
            _tasks(f"{title}: {first} against {second}", rows.to_dict("records"), str(first), str(second))
            for (first, second), rows in part.groupby(["first", "second"], sort=False)
        ]
        tables += [_under(comparison, part, table) for table in made]
    return tuple(tables)


def caption(comparison: Comparison) -> str:
    """Return what the tables show, in words."""
    text = _CAPTION.format(power=comparison.power, alpha=comparison.alpha)
    with_errors = _ERRORS if comparison.pairs["errors"].any() else ""
    return " ".join(filter(None, (text, with_errors, _RANKS if len(comparison.runs.labels) > 2 else "")))


def csv(comparison: Comparison) -> str:
    """Return every number of every pair and task; rates are 0..1."""
    return comparison.pairs.to_csv(index=False, float_format="%.10g", lineterminator="\n")


def markdown(comparison: Comparison) -> str:
    """Return a page with the verdicts and the tables."""
    found = "\n".join(f"- {markdown_text(text)}" for text in verdicts(comparison))
    parts = ["# Comparison", found]
    for conditions, tables in groupby(comparison_tables(comparison), key=lambda table: table.conditions):
        for table in tables:
            parts += [f"## {markdown_text(table.title)}", markdown_table(table)]
        parts += [f"{markdown_text(note)}." for note in conditions]
    return "\n\n".join([*parts, markdown_text(caption(comparison))]) + "\n"


def latex(comparison: Comparison) -> str:
    """Return the tables as LaTeX floats."""
    return latex_file(comparison_tables(comparison), "comparison", caption(comparison))


def _under(comparison: Comparison, part: pd.DataFrame, table: TextTable) -> TextTable:
    """Return the table with the conditions of its suite."""
    return replace(table, conditions=conditions_of(comparison.runs.runs).get(str(part["suite"].iloc[0]), ()))


def _ranks(comparison: Comparison, title: str, pairs: pd.DataFrame) -> tuple[TextTable, TextTable]:
    return _ranking(title, dict(sections(comparison.ranking))[title]), _averages(title, pairs)


def _ranking(title: str, part: pd.DataFrame) -> TextTable:
    rows = [
        (row["policy"], row["rank"], row["group"], str(row["pairs"]), _rate(row, "success"))
        for row in part.to_dict("records")
    ]
    return TextTable(f"{title}: ranks", ("policy", "rank", "group", "episodes", "success %"), tuple(rows), left=1)


def _averages(title: str, part: pd.DataFrame) -> TextTable:
    rows = part[part["task"] == ALL_TASKS].to_dict("records")
    cells = [(f"{row['first']} against {row['second']}", *_difference_cells(row)) for row in rows]
    return TextTable(f"{title}: averages of the tasks", ("policies", *_DIFFERENCE_HEADER), tuple(cells), left=1)


def _tasks(title: str, rows: Sequence[Row], first: str, second: str) -> TextTable:
    with_errors = any(row["errors"] for row in rows)
    header = ("task", f"{first} %", f"{second} %", *_DIFFERENCE_HEADER, *(_ERROR_HEADER if with_errors else ()))
    cells = [
        (
            row["task"],
            _rate(row, "first"),
            _rate(row, "second"),
            *_difference_cells(row),
            *(_error_cells(row) if with_errors else ()),
        )
        for row in rows
    ]
    return TextTable(title, header, tuple(cells), left=1)


def _difference_cells(row: Row) -> tuple[str, ...]:
    value, low, high = (100 * row[name] for name in ("difference", "difference_low", "difference_high"))
    return (
        _NOTHING if math.isnan(value) else f"{value:+.1f} [{low:+.1f}, {high:+.1f}]",
        *(str(row[name]) for name in ("first_only", "second_only", "pairs")),
        p_text(row["p"]),
        p_text(row["p_holm"]),
        _NOTHING if math.isnan(row["detectable"]) else f"{100 * row['detectable']:.1f}",
    )


def _error_cells(row: Row) -> tuple[str, ...]:
    cases = (f"{100 * row[f'difference_{case}']:+.1f} (p {p_text(row[f'p_{case}'])})" for case in ("worst", "best"))
    return (str(row["errors"]), *cases)


def _rate(row: Row, name: str) -> str:
    rate, low, high = (100 * row[f"{name}_{part}"] for part in ("rate", "low", "high"))
    return _NOTHING if math.isnan(rate) else f"{rate:.1f} [{low:.1f}, {high:.1f}]"
