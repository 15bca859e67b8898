"""A comparison in sentences: who is better, how sure that is, and what it would take to know."""

import math
from collections.abc import Iterator

import pandas as pd

from vla_bench.results.comparison import Comparison
from vla_bench.results.leaderboard import ALL_TASKS
from vla_bench.results.statistics.sample_size import expected_discordance, paired_episodes, unpaired_episodes
from vla_bench.results.tables import Row, sections

_SMALLEST_P = 0.0001
_LISTED = 6
_FINE = 0.05  # a difference planned for where nobody asked for one, beside the one that was seen


def verdicts(comparison: Comparison, wanted: float | None = None) -> tuple[str, ...]:
    """Return the findings as sentences; `wanted` is a difference, 0..1, to plan more episodes for."""
    found = [
        text
        for title, part in sections(comparison.pairs)
        for _, rows in part.groupby(["first", "second"], sort=False)
        for text in _verdict(comparison, title, rows, wanted)
    ]
    return (*found, *_left_out(comparison), *_stopped(comparison))


def p_text(p: float) -> str:
    """Return a p-value to four places."""
    if math.isnan(p):
        return "\N{EN DASH}"
    return f"<{_SMALLEST_P:.4f}" if p < _SMALLEST_P else f"{p:.4f}"


def _verdict(comparison: Comparison, title: str, rows: pd.DataFrame, wanted: float | None) -> Iterator[str]:
    (overall,) = rows[rows["task"] == ALL_TASKS].to_dict("records")
    tasks = rows[rows["task"] != ALL_TASKS]
    if not overall["pairs"]:
        yield f"{title}: {overall['first']} and {overall['second']} share no episode without an error."
        return
    yield _overall(comparison, title, overall)
    if len(tasks) > 1 and len(comparison.runs.labels) == 2:
        yield _tasks(tasks, comparison.alpha)
    if overall["errors"]:
        yield _errors(overall, comparison.alpha)
    if overall["p_holm"] > comparison.alpha or wanted is not None:
        yield _plan(comparison, overall, len(tasks), wanted)


def _overall(comparison: Comparison, title: str, row: Row) -> str:
    adjusted = len(comparison.runs.labels) > 2
    p = f"{'Holm-adjusted ' if adjusted else ''}p {_equals(row['p_holm'])}"
    value, low, high = (100 * row[name] for name in ("difference", "difference_low", "difference_high"))
    first, second = row["first"], row["second"]
    if row["p_holm"] > comparison.alpha:
        finding = f"{first} and {second} are not distinguishable"
    elif value < 0:
        value, low, high, finding = -value, -high, -low, f"{second} is better than {first}"
    else:
        finding = f"{first} is better than {second}"
    return f"{title}: {finding}: {value:+.1f} points [{low:+.1f}, {high:+.1f}], {p}, {row['pairs']} paired episodes."


def _tasks(tasks: pd.DataFrame, alpha: float) -> str:
    different = tasks[tasks["p_holm"] <= alpha].sort_values("p_holm", kind="stable").to_dict("records")
    if not different:
        return f"No single task of {len(tasks)} shows a difference after Holm's adjustment."
    shown = [f"{row['task']} {100 * row['difference']:+.0f}" for row in different[:_LISTED]]
    more = f" and {len(different) - _LISTED} more" if len(different) > _LISTED else ""
    return f"{len(different)} of {len(tasks)} tasks differ after Holm's adjustment: {', '.join(shown)}{more}."


def _errors(row: Row, alpha: float) -> str:
    signs = [_sign(row["difference"], row["p"], alpha)]
    signs += [_sign(row[f"difference_{case}"], row[f"p_{case}"], alpha) for case in ("worst", "best")]
    stands = "The finding is the same either way" if len(set(signs)) == 1 else "The finding depends on them"
    worst, best = (
        f"{100 * row[f'difference_{case}']:+.1f} (p {_equals(row[f'p_{case}'])})" for case in ("worst", "best")
    )
    return (
        f"{row['errors']} pairs with an error are left out. {stands}: {worst} with the errors taken against "
        f"{row['first']}, {best} with them taken for it; unadjusted p."
    )


def _plan(comparison: Comparison, row: Row, tasks: int, wanted: float | None) -> str:
    """Say which difference these episodes find, and how many more find the one that was seen or is wanted."""
    chance = f"with power {comparison.power:g} at level {comparison.alpha:g}"
    found = (
        "no difference" if math.isnan(row["detectable"]) else f"a difference of {100 * row['detectable']:.1f} points"
    )
    sought = [abs(row["difference"]), _FINE] if wanted is None else [wanted]
    plans = [_episodes(comparison, row, tasks, difference) for difference in sought if difference]
    return " ".join([f"{row['pairs']} pairs find {found} {chance}.", *dict.fromkeys(plans)])


def _episodes(comparison: Comparison, row: Row, tasks: int, difference: float) -> str:
    discordance = expected_discordance(row["first_only"] + row["second_only"], row["pairs"])
    needed = paired_episodes(difference, discordance, comparison.alpha, comparison.power)
    more = math.ceil(max(0, needed - row["pairs"]) / tasks)
    asked = f"{more} more a task" if more else "no more"
    towards = difference if row["second_rate"] + difference <= 1.0 else -difference
    alone = unpaired_episodes(row["second_rate"], towards, comparison.alpha, comparison.power)
    return f"For {100 * difference:.1f} points: {asked} ({needed} pairs; without pairing {alone} of each policy)."


def _left_out(comparison: Comparison) -> Iterator[str]:
    left_out = {label: count for label, count in comparison.runs.left_out.items() if count}
    if left_out:
        counts = ", ".join(f"{count} of {label}" for label, count in left_out.items())
        yield f"Compared on the {len(comparison.runs.outcomes)} episodes that all met; left out: {counts}."


def _stopped(comparison: Comparison) -> Iterator[str]:
    """Tell of runs that ended when their outcomes pleased: what is computed for a fixed number is not theirs."""
    for label, run in zip(comparison.runs.labels, comparison.runs.runs, strict=True):
        if run.info.verdict:
            yield (
                f"{label} was stopped by its plan, which looked at the outcomes: {run.info.verdict} Intervals and "
                "p-values here are for a number of episodes that was fixed beforehand and do not hold for it."
            )


def _sign(difference: float, p: float, alpha: float) -> int:
    return 0 if not p <= alpha else 1 if difference > 0 else -1


def _equals(p: float) -> str:
    text = p_text(p)
    return text.replace("<", "< ") if text.startswith("<") else f"= {text}"
