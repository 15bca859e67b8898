"""Comparison of runs on identical episodes: differences per pair of policies and task, and ranks of all policies."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from vla_bench.results.leaderboard import ALL_TASKS
from vla_bench.results.pairing import PairedRuns
from vla_bench.results.statistics.multiple_comparisons import holm, rank
from vla_bench.results.statistics.paired import (
    BoundedPairs,
    PairCounts,
    bootstrap_difference,
    bounded_pairs,
    mcnemar_exact,
    mean_difference,
)
from vla_bench.results.statistics.proportions import NAN, Proportion, fixed_tasks
from vla_bench.results.statistics.sample_size import ALPHA, POWER, expected_discordance, paired_detectable

PAIR_COLUMNS: dict[str, type] = {
    "suite": str,
    "variant": str,
    "first": str,  # label of a run
    "second": str,
    "task": str,  # (all): the suite average with equal weight of each task
    "pairs": int,  # common episodes without an error
    "errors": int,  # pairs excluded because of an error of either policy
    "first_rate": float,  # 0..1, of those pairs, with its 95 % interval
    "first_low": float,
    "first_high": float,
    "second_rate": float,
    "second_low": float,
    "second_high": float,
    "difference": float,  # first minus second, -1..1
    "difference_low": float,
    "difference_high": float,
    "first_only": int,  # episodes in which only the first succeeded
    "second_only": int,
    "p": float,  # exact McNemar, two-sided
    "p_holm": float,  # adjusted over tasks and pairs of the suite; for (all): over pairs of policies
    "detectable": float,  # difference detectable with this many pairs at power 0.8 and alpha 0.05
    "bootstrap_low": float,  # interval of the difference by the paired bootstrap
    "bootstrap_high": float,
    "difference_worst": float,  # errors counted against the first policy
    "p_worst": float,
    "difference_best": float,  # errors counted in favor of the first policy
    "p_best": float,
}
RANK_COLUMNS: dict[str, type] = {
    "suite": str,
    "variant": str,
    "policy": str,
    "pairs": int,
    "success_rate": float,  # suite average, 0..1
    "success_low": float,
    "success_high": float,
    "rank": str,  # or the range of ranks that the tests allow
    "group": str,  # policies that share a letter are not significantly different
}


@dataclass(frozen=True)
class Comparison:
    """Result of a comparison of runs."""

    runs: PairedRuns
    pairs: pd.DataFrame  # PAIR_COLUMNS
    ranking: pd.DataFrame  # RANK_COLUMNS
    alpha: float
    power: float


def compare(runs: PairedRuns, alpha: float = ALPHA, power: float = POWER) -> Comparison:
    """Compare the runs by pair and task, separately for each suite and variant."""
    pair_rows, rank_rows = [], []
    for (suite, variant), episodes in runs.outcomes.groupby(["suite", "variant"]):
        place = {"suite": str(suite), "variant": str(variant)}
        found = [
            {**place, "first": first, "second": second, **row}
            for first, second in combinations(runs.labels, 2)
            for row in _task_rows(episodes[first], episodes[second], alpha, power)
        ]
        part = _adjusted(pd.DataFrame(found, columns=list(PAIR_COLUMNS)))
        pair_rows.append(part)
        rank_rows += [{**place, **row} for row in _rank_rows(episodes, part, alpha)]
    pairs = pd.concat(pair_rows, ignore_index=True).astype(PAIR_COLUMNS)
    ranking = pd.DataFrame(rank_rows, columns=list(RANK_COLUMNS)).astype(RANK_COLUMNS)
    return Comparison(runs, pairs, ranking, alpha, power)


def _task_rows(
    first: "pd.Series[str]", second: "pd.Series[str]", alpha: float, power: float
) -> Iterator[dict[str, str | int | float]]:
    """Yield a row for each task and one for their average."""
    tasks = {str(task): bounded_pairs(part, second[part.index]) for task, part in first.groupby("task")}
    for task, counts in tasks.items():
        yield {"task": task, **_row([counts], alpha, power)}
    yield {"task": ALL_TASKS, **_row(list(tasks.values()), alpha, power)}


def _row(tasks: Sequence[BoundedPairs], alpha: float, power: float) -> dict[str, int | float]:
    counted = [task.counted for task in tasks]
    total = _sum(counted)
    rates = {
        "first": _average([(task.both + task.first_only, task.pairs) for task in counted]),
        "second": _average([(task.both + task.second_only, task.pairs) for task in counted]),
    }
    difference, resampled = mean_difference(counted), bootstrap_difference(counted)
    worst, best = [task.worst for task in tasks], [task.best for task in tasks]
    discordance = expected_discordance(total.discordant, total.pairs)
    return {
        "pairs": total.pairs,
        "errors": sum(task.errors for task in tasks),
        **{f"{name}_{part}": getattr(rates[name], part) for name in rates for part in ("rate", "low", "high")},
        "difference": difference.value,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "first_only": total.first_only,
        "second_only": total.second_only,
        "p": mcnemar_exact(total) if total.pairs else NAN,
        "p_holm": NAN,  # filled in once all rows are known
        "detectable": paired_detectable(total.pairs, discordance, alpha, power) if total.pairs else NAN,
        "bootstrap_low": resampled.low,
        "bootstrap_high": resampled.high,
        "difference_worst": mean_difference(worst).value,
        "p_worst": mcnemar_exact(_sum(worst)),
        "difference_best": mean_difference(best).value,
        "p_best": mcnemar_exact(_sum(best)),
    }


def _adjusted(rows: pd.DataFrame) -> pd.DataFrame:
    """Adjust the p-values of all tasks together, and those of all averages together."""
    adjusted = rows.copy()
    for chosen in (rows["task"] == ALL_TASKS, rows["task"] != ALL_TASKS):
        adjusted.loc[chosen, "p_holm"] = holm(rows.loc[chosen, "p"])
    return adjusted


def _rank_rows(episodes: pd.DataFrame, pairs: pd.DataFrame, alpha: float) -> list[dict[str, str | int | float]]:
    """Rank by the suite averages of the episodes without an error of any policy."""
    whole = episodes[(episodes != "error").all(axis=1)] == "success"
    averages = {
        label: _average([(int(task.sum()), len(task)) for _, task in whole[label].groupby("task")])
        for label in episodes.columns
    }
    order = sorted(averages, key=lambda label: (-averages[label].rate, label))
    significant = pairs[(pairs["task"] == ALL_TASKS) & (pairs["p_holm"] <= alpha)].to_dict("records")
    better = {
        (row["first"], row["second"]) if row["difference"] > 0 else (row["second"], row["first"]) for row in significant
    }
    ranks = rank(order, better)
    return [
        {
            "policy": label,
            "pairs": len(whole),
            "success_rate": averages[label].rate,
            "success_low": averages[label].low,
            "success_high": averages[label].high,
            "rank": str(ranks[label]),
            "group": ranks[label].group,
        }
        for label in order
    ]


def _average(counts: Sequence[tuple[int, int]]) -> Proportion:
    return fixed_tasks([hits for hits, _ in counts], [trials for _, trials in counts])


def _sum(counts: Sequence[PairCounts]) -> PairCounts:
    return sum(counts, start=PairCounts(0, 0, 0, 0))
