"""Tables as text cells, written as CSV, Markdown and LaTeX (booktabs).

A table is first built from text cells and then written in each format, so that all formats show the same.
"""

import math
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pandas as pd

from vla_bench.results.leaderboard import ALL_TASKS

_UNFINISHED = "*"
_WITH_ERRORS = "\N{DAGGER}"
_MARK_MEANINGS = {
    _UNFINISHED: "unfinished: planned episodes are missing",
    _WITH_ERRORS: "episodes that ended in an error are left out; in brackets the rate with them as failures and as "
    "successes",
}
_NO_VALUE = "\N{EN DASH}"
_GROUP = "group"
_MAX_TASK_COLUMNS = 5  # tasks that fit beside each other on a page; more of them go down the page


Row = Mapping[Hashable, Any]  # one row of the leaderboard: its columns are of several types


@dataclass(frozen=True)
class TextTable:
    """A table of plain text cells."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int  # columns with words, aligned left; the others hold numbers
    conditions: tuple[str, ...] = ()  # under which its numbers were made

    @property
    def footnotes(self) -> tuple[str, ...]:
        """The meaning of the marks that occur in the cells, then the conditions."""
        text = " ".join(cell for row in self.rows for cell in row[self.left :])
        return (*(f"{mark} {meaning}" for mark, meaning in _MARK_MEANINGS.items() if mark in text), *self.conditions)


Conditions = Mapping[str, tuple[str, ...]]  # by suite


def compact_tables(table: pd.DataFrame, conditions: Conditions | None = None) -> tuple[TextTable, ...]:
    """Return one small table a suite: success in percent with its interval, policies by tasks.

    Policies go down the page, except where the tasks are too many to stand side by side.
    """
    return tuple(
        _with_conditions(conditions, part, _compact_table(title, part)) for title, part in suite_sections(table)
    )


def full_tables(table: pd.DataFrame, conditions: Conditions | None = None) -> tuple[TextTable, ...]:
    """Return one table a suite with a row for each policy and task and every measure."""
    return tuple(_with_conditions(conditions, part, _full_table(title, part)) for title, part in suite_sections(table))


def leaderboard_csv(table: pd.DataFrame) -> str:
    """Return the leaderboard with all its columns; rates are 0..1."""
    return table.to_csv(index=False, float_format="%.10g", lineterminator="\n")


def leaderboard_markdown(table: pd.DataFrame, notes: Sequence[str] = (), conditions: Conditions | None = None) -> str:
    """Return a page with the compact and the full tables."""
    parts = ["# Leaderboard", LEADERBOARD_CAPTION, "\n".join(f"- {markdown_text(note)}" for note in notes)]
    for small, large in zip(compact_tables(table, conditions), full_tables(table, conditions), strict=True):
        parts.append(f"## {markdown_text(small.title)}")
        for part in (small, large):
            parts += [markdown_table(part), *(f"{markdown_text(note)}." for note in part.footnotes)]
    return "\n\n".join(filter(None, parts)) + "\n"


def latex_compact(table: pd.DataFrame, conditions: Conditions | None = None) -> str:
    """Return the compact tables as LaTeX floats."""
    return latex_file(compact_tables(table, conditions), "compact")


def latex_full(table: pd.DataFrame, conditions: Conditions | None = None) -> str:
    """Return the full tables as LaTeX floats."""
    return latex_file(full_tables(table, conditions), "full")


def success_cell(row: Row) -> str:
    """Return `58.3 [45.7, 69.9]`: percent and 95 % interval, with a mark where planned episodes are missing.

    Where episodes ended in an error, what the rate would be with these as failures and as successes stands behind it:
    `58.3 [45.7, 69.9]† (2 errors: 50.0 to 53.3)`.
    """
    rate, low, high = (row[f"success_{name}"] for name in ("rate", "low", "high"))
    shown = _NO_VALUE if math.isnan(rate) else f"{100 * rate:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    cell = shown + _UNFINISHED * bool(row["missing"])
    if not row["errors"]:
        return cell
    worst, best = (_number(100 * row[f"success_if_errors_{end}"]) for end in ("fail", "succeed"))
    return f"{cell}{_WITH_ERRORS} ({row['errors']} error{'s' * (row['errors'] > 1)}: {worst} to {best})"


def suite_sections(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield a title and the rows of each suite, and of each variant where there are several."""
    several = table["variant"].nunique() > 1
    for (suite, variant), part in table.groupby(["suite", "variant"], sort=False):
        yield (f"{suite} ({variant})" if several or variant != "clean" else str(suite)), part


LEADERBOARD_CAPTION = (
    "Success rate in percent with its 95 % interval for other episodes of these tasks (Wilson). (all): the mean of the "
    "tasks; as a sample: its interval for other tasks like these (task-clustered bootstrap). Policies that share a "
    "group were not told apart (exact McNemar tests, Holm)."
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
    rows = [(name, *(cells.get(key, _NO_VALUE) for key in row)) for name, row in zip(down, keys, strict=True)]
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
    return {"rank": row["rank"] or _NO_VALUE, _GROUP: row["group"] or _NO_VALUE}


def _interval(low: float, high: float) -> str:
    return _NO_VALUE if math.isnan(low) else f"[{100 * low:.1f}, {100 * high:.1f}]"


def _number(value: float, digits: int = 1) -> str:
    return _NO_VALUE if math.isnan(value) else f"{value:.{digits}f}"


def _mean_and_spread(mean: float, std: float) -> str:
    return _number(mean, 2) if math.isnan(std) else f"{mean:.2f} ± {std:.2f}"


def markdown_table(table: TextTable) -> str:
    """Return the table without its title."""
    rule = [":--" if column < table.left else "--:" for column in range(len(table.header))]
    lines = [table.header, *table.rows]
    header, *body = (" | ".join(markdown_text(cell) for cell in line) for line in lines)
    return "\n".join(f"| {line} |" for line in (header, " | ".join(rule), *body))


def latex_file(tables: Sequence[TextTable], kind: str, caption: str = LEADERBOARD_CAPTION) -> str:
    """Return the tables as LaTeX floats; `kind` ends their labels."""
    return "\n".join(["% Needs \\usepackage{booktabs}", *(_latex(table, kind, caption) for table in tables)])


def _latex(table: TextTable, kind: str, caption: str) -> str:
    label = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in table.title).strip("-")
    caption = " ".join([table.title + ".", caption, *(f"{note}." for note in table.footnotes)])
    lines = [
        "\\begin{table}[t]",
        "  \\centering",
        f"  \\caption{{{_latex_text(caption)}}}",
        f"  \\label{{tab:{label}-{kind}}}",
        f"  \\begin{{tabular}}{{{'l' * table.left}{'r' * (len(table.header) - table.left)}}}",
        "    \\toprule",
        f"    {_latex_row(table.header)}",
        "    \\midrule",
        *(f"    {rule}{_latex_row(row)}" for rule, row in zip(_rules(table), table.rows, strict=True)),
        "    \\bottomrule",
        "  \\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _rules(table: TextTable) -> list[str]:
    """Return what to put before each row: a rule where the next policy begins."""
    names = [row[0] for row in table.rows]
    grouped = len(set(names)) < len(names)
    starts = [False, *(grouped and name != before for before, name in pairwise(names))]
    return ["\\midrule\n    " if start else "" for start in starts]


def _latex_row(cells: Sequence[str]) -> str:
    row = " & ".join(_latex_text(cell) for cell in cells) + r" \\"
    return f"{{}}{row}" if row.startswith("[") else row  # the line break before it would take [..] as its own


def _latex_text(text: str) -> str:
    return " ".join(text.split()).translate(_LATEX)


def markdown_text(text: str) -> str:
    """Return the text as Markdown shows it unchanged, on one line."""
    escaped = " ".join(text.split()).translate(_MARKDOWN)
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\_", escaped)  # inside a word an underscore means itself


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': "''",
        **{letter: f"\\{letter}" for letter in "&%$#_{}"},
        "±": r"$\pm$",
        _WITH_ERRORS: r"\textsuperscript{$\dagger$}",
        _UNFINISHED: r"\textsuperscript{*}",
        _NO_VALUE: "--",
    }
)
_MARKDOWN = str.maketrans({letter: f"\\{letter}" for letter in "\\`*|<>"})
