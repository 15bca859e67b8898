"""Text and tables (terminal, Markdown, LaTeX, CSV) of a comparison."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import pandas as pd

from vla_bench.results.comparison import Comparison
from vla_bench.results.leaderboard import ALL_TASKS
from vla_bench.results.leaderboard_tables import Row, suite_sections
from vla_bench.results.notes import conditions_of
from vla_bench.results.statistics.sample_size import expected_discordance, paired_episodes, unpaired_episodes
from vla_bench.results.text_tables import NO_VALUE, TextTable, latex_file, markdown_table, markdown_text

_SMALLEST_P = 0.0001
_MAX_LISTED_TASKS = 6
_SMALL_DIFFERENCE = 0.05  # default difference to plan for, in addition to the observed one


def verdicts(comparison: Comparison, wanted: float | None = None) -> tuple[str, ...]:
    """Return the findings as sentences; `wanted` is a difference, 0..1, for which to plan further episodes."""
    found = [
        text
        for title, part in suite_sections(comparison.pairs)
        for _, rows in part.groupby(["first", "second"], sort=False)
        for text in _pair_sentences(comparison, title, rows, wanted)
    ]
    return (*found, *_left_out_sentences(comparison), *_stopped_sentences(comparison))


def p_value_text(p: float) -> str:
    """Return a p-value with four decimals."""
    if math.isnan(p):
        return "\N{EN DASH}"
    return f"<{_SMALLEST_P:.4f}" if p < _SMALLEST_P else f"{p:.4f}"


def _pair_sentences(comparison: Comparison, title: str, rows: pd.DataFrame, wanted: float | None) -> Iterator[str]:
    (overall,) = rows[rows["task"] == ALL_TASKS].to_dict("records")
    tasks = rows[rows["task"] != ALL_TASKS]
    if not overall["pairs"]:
        yield f"{title}: {overall['first']} and {overall['second']} share no episode without an error."
        return
    yield _overall_sentence(comparison, title, overall)
    if len(tasks) > 1 and len(comparison.runs.labels) == 2:
        yield _tasks_sentence(tasks, comparison.alpha)
    if overall["errors"]:
        yield _errors_sentence(overall, comparison.alpha)
    if overall["p_holm"] > comparison.alpha or wanted is not None:
        yield _plan_sentence(comparison, overall, len(tasks), wanted)


def _overall_sentence(comparison: Comparison, title: str, row: Row) -> str:
    adjusted = len(comparison.runs.labels) > 2
    p = f"{'Holm-adjusted ' if adjusted else ''}p {_p_value_relation(row['p_holm'])}"
    value, low, high = (100 * row[name] for name in ("difference", "difference_low", "difference_high"))
    first, second = row["first"], row["second"]
    if row["p_holm"] > comparison.alpha:
        finding = f"{first} and {second} are not significantly different"
    elif value < 0:
        value, low, high, finding = -value, -high, -low, f"{second} is better than {first}"
    else:
        finding = f"{first} is better than {second}"
    return f"{title}: {finding}: {value:+.1f} points [{low:+.1f}, {high:+.1f}], {p}, {row['pairs']} paired episodes."


def _tasks_sentence(tasks: pd.DataFrame, alpha: float) -> str:
    different = tasks[tasks["p_holm"] <= alpha].sort_values("p_holm", kind="stable").to_dict("records")
    if not different:
        return f"None of {len(tasks)} tasks differs significantly after Holm adjustment."
    shown = [f"{row['task']} {100 * row['difference']:+.0f}" for row in different[:_MAX_LISTED_TASKS]]
    more = f" and {len(different) - _MAX_LISTED_TASKS} more" if len(different) > _MAX_LISTED_TASKS else ""
    return (
        f"{len(different)} of {len(tasks)} tasks differ significantly after Holm adjustment: {', '.join(shown)}{more}."
    )


def _errors_sentence(row: Row, alpha: float) -> str:
    signs = [_sign(row["difference"], row["p"], alpha)]
    signs += [_sign(row[f"difference_{case}"], row[f"p_{case}"], alpha) for case in ("worst", "best")]
    stands = "The result is the same in both cases" if len(set(signs)) == 1 else "The result depends on them"
    worst, best = (
        f"{100 * row[f'difference_{case}']:+.1f} (p {_p_value_relation(row[f'p_{case}'])})"
        for case in ("worst", "best")
    )
    return (
        f"{row['errors']} pairs with an error are excluded. {stands}: {worst} with the errors counted against "
        f"{row['first']}, {best} with the errors counted in its favor; unadjusted p."
    )


def _plan_sentence(comparison: Comparison, row: Row, tasks: int, wanted: float | None) -> str:
    """Return which difference these episodes detect, and how many more detect the observed or wanted difference."""
    chance = f"with power {comparison.power:g} at level {comparison.alpha:g}"
    found = (
        "no difference" if math.isnan(row["detectable"]) else f"a difference of {100 * row['detectable']:.1f} points"
    )
    sought = [abs(row["difference"]), _SMALL_DIFFERENCE] if wanted is None else [wanted]
    plans = [_episodes_sentence(comparison, row, tasks, difference) for difference in sought if difference]
    return " ".join([f"{row['pairs']} pairs detect {found} {chance}.", *dict.fromkeys(plans)])


def _episodes_sentence(comparison: Comparison, row: Row, tasks: int, difference: float) -> str:
    discordance = expected_discordance(row["first_only"] + row["second_only"], row["pairs"])
    needed = paired_episodes(difference, discordance, comparison.alpha, comparison.power)
    more = math.ceil(max(0, needed - row["pairs"]) / tasks)
    asked = f"{more} more per task" if more else "no more"
    towards = difference if row["second_rate"] + difference <= 1.0 else -difference
    alone = unpaired_episodes(row["second_rate"], towards, comparison.alpha, comparison.power)
    return f"For {100 * difference:.1f} points: {asked} ({needed} pairs; unpaired: {alone} per policy)."


def _left_out_sentences(comparison: Comparison) -> Iterator[str]:
    left_out = {label: count for label, count in comparison.runs.left_out.items() if count}
    if left_out:
        counts = ", ".join(f"{count} of {label}" for label, count in left_out.items())
        common = len(comparison.runs.outcomes)
        yield f"Compared on the {common} episodes that all runs have in common; excluded: {counts}."


def _stopped_sentences(comparison: Comparison) -> Iterator[str]:
    """Yield notes on runs that were stopped depending on their outcomes, for which fixed-sample statistics do not
    hold.
    """
    for label, run in zip(comparison.runs.labels, comparison.runs.runs, strict=True):
        if run.info.verdict:
            yield (
                f"{label} was stopped by its plan depending on the outcomes: {run.info.verdict} Intervals and "
                "p-values on this page assume a fixed number of episodes and do not hold for it."
            )


def _sign(difference: float, p: float, alpha: float) -> int:
    return 0 if not p <= alpha else 1 if difference > 0 else -1


def _p_value_relation(p: float) -> str:
    text = p_value_text(p)
    return text.replace("<", "< ") if text.startswith("<") else f"= {text}"


_DIFFERENCE_HEADER = ("difference", "wins", "losses", "pairs", "p", "p (Holm)", "detectable")
_ERROR_HEADER = ("errors", "worst case", "best case")
_CAPTION = (
    "Success rate in percent and its difference in percentage points on identical episodes, with 95 % intervals. "
    "Wins and losses: episodes in which only the first or only the second policy succeeded. p: exact McNemar test, "
    "Holm-adjusted over tasks. Detectable: the difference that this many episodes detect with power {power:g} at level "
    "{alpha:g}."
)
_ERRORS_CAPTION = "Worst and best case: the difference with errors counted against and in favor of the first policy."
_RANKS_CAPTION = (
    "Policies that share a letter are not significantly different (exact McNemar tests of all pairs, Holm)."
)


def overview_tables(comparison: Comparison) -> tuple[TextTable, ...]:
    """Return the summary tables of each suite: tasks for two policies, ranks and averages for more."""
    if len(comparison.runs.labels) == 2:
        return comparison_tables(comparison)
    parts = suite_sections(comparison.pairs)
    return tuple(
        _with_conditions(comparison, part, table)
        for title, part in parts
        for table in _rank_tables(comparison, title, part)
    )


def comparison_tables(comparison: Comparison) -> tuple[TextTable, ...]:
    """Return for each suite the ranks, if there are more than two policies, and one table per pair of policies."""
    tables: list[TextTable] = []
    for title, part in suite_sections(comparison.pairs):
        made = list(_rank_tables(comparison, title, part)) if len(comparison.runs.labels) > 2 else []
        made += [
            _task_table(f"{title}: {first} against {second}", rows.to_dict("records"), str(first), str(second))
            for (first, second), rows in part.groupby(["first", "second"], sort=False)
        ]
        tables += [_with_conditions(comparison, part, table) for table in made]
    return tuple(tables)


def comparison_caption(comparison: Comparison) -> str:
    """Return the caption of the tables."""
    text = _CAPTION.format(power=comparison.power, alpha=comparison.alpha)
    with_errors = _ERRORS_CAPTION if comparison.pairs["errors"].any() else ""
    return " ".join(filter(None, (text, with_errors, _RANKS_CAPTION if len(comparison.runs.labels) > 2 else "")))


def comparison_csv(comparison: Comparison) -> str:
    """Return the CSV of all pairs and tasks; rates are 0..1."""
    return comparison.pairs.to_csv(index=False, float_format="%.10g", lineterminator="\n")


def comparison_markdown(comparison: Comparison) -> str:
    """Return a page with the verdicts and the tables."""
    found = "\n".join(f"- {markdown_text(text)}" for text in verdicts(comparison))
    parts = ["# Comparison", found]
    for conditions, tables in groupby(comparison_tables(comparison), key=lambda table: table.conditions):
        for table in tables:
            parts += [f"## {markdown_text(table.title)}", markdown_table(table)]
        parts += [f"{markdown_text(note)}." for note in conditions]
    return "\n\n".join([*parts, markdown_text(comparison_caption(comparison))]) + "\n"


def comparison_latex(comparison: Comparison) -> str:
    """Return the tables as LaTeX floats."""
    return latex_file(comparison_tables(comparison), "comparison", comparison_caption(comparison))


def _with_conditions(comparison: Comparison, part: pd.DataFrame, table: TextTable) -> TextTable:
    """Return the table with the conditions of its suite."""
    return replace(table, conditions=conditions_of(comparison.runs.runs).get(str(part["suite"].iloc[0]), ()))


def _rank_tables(comparison: Comparison, title: str, pairs: pd.DataFrame) -> tuple[TextTable, TextTable]:
    return _ranking_table(title, dict(suite_sections(comparison.ranking))[title]), _averages_table(title, pairs)


def _ranking_table(title: str, part: pd.DataFrame) -> TextTable:
    rows = [
        (row["policy"], row["rank"], row["group"], str(row["pairs"]), _rate_cell(row, "success"))
        for row in part.to_dict("records")
    ]
    return TextTable(f"{title}: ranks", ("policy", "rank", "group", "episodes", "success %"), tuple(rows), left=1)


def _averages_table(title: str, part: pd.DataFrame) -> TextTable:
    rows = part[part["task"] == ALL_TASKS].to_dict("records")
    cells = [(f"{row['first']} against {row['second']}", *_difference_cells(row)) for row in rows]
    return TextTable(f"{title}: averages of the tasks", ("policies", *_DIFFERENCE_HEADER), tuple(cells), left=1)


def _task_table(title: str, rows: Sequence[Row], first: str, second: str) -> TextTable:
    with_errors = any(row["errors"] for row in rows)
    header = ("task", f"{first} %", f"{second} %", *_DIFFERENCE_HEADER, *(_ERROR_HEADER if with_errors else ()))
    cells = [
        (
            row["task"],
            _rate_cell(row, "first"),
            _rate_cell(row, "second"),
            *_difference_cells(row),
            *(_error_cells(row) if with_errors else ()),
        )
        for row in rows
    ]
    return TextTable(title, header, tuple(cells), left=1)


def _difference_cells(row: Row) -> tuple[str, ...]:
    value, low, high = (100 * row[name] for name in ("difference", "difference_low", "difference_high"))
    return (
        NO_VALUE if math.isnan(value) else f"{value:+.1f} [{low:+.1f}, {high:+.1f}]",
        *(str(row[name]) for name in ("first_only", "second_only", "pairs")),
        p_value_text(row["p"]),
        p_value_text(row["p_holm"]),
        NO_VALUE if math.isnan(row["detectable"]) else f"{100 * row['detectable']:.1f}",
    )


def _error_cells(row: Row) -> tuple[str, ...]:
    cases = (
        f"{100 * row[f'difference_{case}']:+.1f} (p {p_value_text(row[f'p_{case}'])})" for case in ("worst", "best")
    )
    return (str(row["errors"]), *cases)


def _rate_cell(row: Row, name: str) -> str:
    rate, low, high = (100 * row[f"{name}_{part}"] for part in ("rate", "low", "high"))
    return NO_VALUE if math.isnan(rate) else f"{rate:.1f} [{low:.1f}, {high:.1f}]"
