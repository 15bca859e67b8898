"""The leaderboard as a data frame: success rates with intervals and ranks, one row per policy and task."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from vla_bench.results.episode_record import KEY
from vla_bench.results.runs import Run, merged_episodes, read_comparable_runs
from vla_bench.results.statistics import NAN, mean_and_std
from vla_bench.results.statistics.multiple_comparisons import Rank, holm, rank
from vla_bench.results.statistics.paired import PairCounts, bounded_pairs, mcnemar_exact, mean_difference
from vla_bench.results.statistics.proportions import fixed_tasks, sampled_tasks
from vla_bench.results.statistics.sample_size import ALPHA

_EPISODE_AND_SCENE = [*KEY, "scene_hash"]  # the same episode of two policies with the same scene


def rank_policies(episodes: pd.DataFrame, policies: Sequence[str], alpha: float = ALPHA) -> dict[str, Rank]:
    """Return the ranks of `policies`, best first, by Holm-adjusted exact McNemar tests of all pairs.

    `episodes` are those of one suite and variant. Empty for a single policy, or if two policies have no common episode
    without an error.
    """
    outcomes = {policy: own.set_index(_EPISODE_AND_SCENE)["outcome"] for policy, own in episodes.groupby("policy")}
    pairs = list(combinations(policies, 2))
    if not pairs or not set(policies) <= set(outcomes):
        return {}
    counts = [_pairs_of_tasks(outcomes[one], outcomes[other]) for one, other in pairs]
    if not all(any(task.pairs for task in tasks) for tasks in counts):
        return {}
    adjusted = holm(mcnemar_exact(sum(tasks, start=PairCounts(0, 0, 0, 0))) for tasks in counts)
    better = {
        (one, other) if mean_difference(tasks).value > 0 else (other, one)
        for (one, other), tasks, p in zip(pairs, counts, adjusted, strict=True)
        if p <= alpha
    }
    return rank(policies, better)


def _pairs_of_tasks(first: "pd.Series[str]", second: "pd.Series[str]") -> list[PairCounts]:
    """Return the pairs of each task."""
    common = first.index.intersection(second.index)
    ours, theirs = first[common], second[common]
    return [bounded_pairs(part, theirs[part.index]).counted for _, part in ours.groupby(level="task")]


ALL_TASKS = "(all)"
LEADERBOARD_COLUMNS: dict[str, type] = {
    "policy": str,
    "suite": str,
    "task": str,
    "episodes": int,  # recorded, errors included
    "errors": int,
    "success_rate": float,  # of the episodes without error, 0..1; for (all): mean over tasks
    "success_low": float,  # 95 % interval for other episodes of these tasks
    "success_high": float,
    "sampled_low": float,  # for (all): 95 % interval for other tasks like these
    "sampled_high": float,
    "success_if_errors_fail": float,
    "success_if_errors_succeed": float,
    "mean_reward": float,  # this and the following: of the episodes without error
    "std_reward": float,
    "mean_steps": float,
    "mean_progress": float,  # 0..1
    "variant": str,
    "missing": int,  # planned but not recorded yet
    "rank": str,  # for (all): range of ranks that the tests allow, such as "1 to 2"; empty without ranking
    "group": str,  # for (all): policies that share a letter are not significantly different
}
_SUITE_COLUMNS = ("suite", "variant", "policy")


class LeaderboardKey(NamedTuple):
    """Key of a leaderboard row."""

    suite: str
    variant: str
    policy: str
    task: str


def read_runs(paths: Iterable[Path | str]) -> pd.DataFrame:
    """Return the episodes of comparable runs, one row each: the ledgers' columns and `run`."""
    return merged_episodes(read_comparable_runs(paths))


def leaderboard(
    frame: pd.DataFrame, missing: Mapping[LeaderboardKey, int] | None = None, *, rank_with_errors: bool = False
) -> pd.DataFrame:
    """Return the leaderboard of the episodes in `frame`: per suite the best policy first, `(all)` after its tasks.

    Errors count neither as success nor as failure. A suite with errors is not ranked and its policies are sorted by
    name, unless `rank_with_errors`. The success rate of `(all)` is the mean over tasks; its other columns cover all
    episodes. `missing` is the number of planned episodes that are not in `frame`.
    """
    lacking = dict(missing or {})
    pooled: dict[LeaderboardKey, int] = {}
    for cell, count in lacking.items():
        overall = cell._replace(task=ALL_TASKS)
        pooled[overall] = pooled.get(overall, 0) + count
    tasks = {LeaderboardKey(*map(str, key)): part for key, part in frame.groupby(list(LeaderboardKey._fields))}
    suites = {
        LeaderboardKey(*map(str, key), task=ALL_TASKS): part  # type: ignore[misc]  # three keys, which mypy cannot count
        for key, part in frame.groupby(list(_SUITE_COLUMNS))
    }
    rows = [*_rows(frame, tasks, lacking), *_rows(frame, suites, pooled)]
    table = _ordered(
        pd.DataFrame(rows, columns=list(LEADERBOARD_COLUMNS)).astype(LEADERBOARD_COLUMNS), rank_with_errors
    )
    return _ranked(table, frame, rank_with_errors)


def missing_episodes(runs: Sequence[Run]) -> dict[LeaderboardKey, int]:
    """Return the number of planned episodes that are not recorded yet, per row."""
    counts: dict[LeaderboardKey, int] = {}
    for run in runs:
        for item, count in run.missing():
            cell = LeaderboardKey(item.suite, item.variant, run.info.policy, item.task)
            counts[cell] = counts.get(cell, 0) + count
    return counts


def unranked(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the suites and variants with errors, in which the order of policies has no meaning."""
    broken = table[table["errors"] > 0]
    return list(dict.fromkeys(zip(broken["suite"], broken["variant"], strict=True)))


def _rows(
    frame: pd.DataFrame, parts: Mapping[LeaderboardKey, pd.DataFrame], missing: Mapping[LeaderboardKey, int]
) -> list[dict[str, str | int | float]]:
    """Return one row per key with recorded or missing episodes."""
    nothing = frame.iloc[:0]
    return [_row(cell, parts.get(cell, nothing), missing.get(cell, 0)) for cell in {**parts, **missing}]


def _row(cell: LeaderboardKey, episodes: pd.DataFrame, missing: int) -> dict[str, str | int | float]:
    scored = episodes[episodes["outcome"] != "error"]
    mean_reward, std_reward = mean_and_std(scored["reward"])
    return {
        **cell._asdict(),
        "episodes": len(episodes),
        "errors": len(episodes) - len(scored),
        **_success(cell, episodes),
        "mean_reward": mean_reward,
        "std_reward": std_reward,
        "mean_steps": mean_and_std(scored["steps"])[0],
        "mean_progress": mean_and_std(scored["progress"])[0],
        "missing": missing,
        "rank": "",  # filled in once all rows are known
        "group": "",
    }


def _success(cell: LeaderboardKey, episodes: pd.DataFrame) -> dict[str, float]:
    """Return the success rate (mean over tasks) with its intervals and bounds."""
    counts = episodes.groupby("task")["outcome"].value_counts().unstack(fill_value=0)
    successes, failures, errors = (
        counts.get(outcome, pd.Series(0, counts.index)).tolist() for outcome in ("success", "failure", "error")
    )
    scored, everything, at_best = (
        [sum(parts) for parts in zip(*kinds, strict=True)]
        for kinds in ((successes, failures), (successes, failures, errors), (successes, errors))
    )
    success = fixed_tasks(successes, scored)
    sampled = sampled_tasks(successes, scored) if cell.task == ALL_TASKS else None
    return {
        "success_rate": success.rate,
        "success_low": success.low,
        "success_high": success.high,
        "sampled_low": sampled.low if sampled else NAN,
        "sampled_high": sampled.high if sampled else NAN,
        "success_if_errors_fail": fixed_tasks(successes, everything).rate,
        "success_if_errors_succeed": fixed_tasks(at_best, everything).rate,
    }


def _ordered(table: pd.DataFrame, rank_with_errors: bool) -> pd.DataFrame:
    overall = table[table["task"] == ALL_TASKS].set_index(list(LeaderboardKey._fields[:3]))["success_rate"].to_dict()
    keys = [tuple(key) for key in table[list(LeaderboardKey._fields[:3])].itertuples(index=False)]
    by_name = set() if rank_with_errors else set(unranked(table))
    order = table.assign(
        _rate=[0.0 if key[:2] in by_name else -overall[key] for key in keys],
        _last=table["task"] == ALL_TASKS,
    ).sort_values(["suite", "variant", "_rate", "policy", "_last", "task"], na_position="last")
    return order[list(LEADERBOARD_COLUMNS)].reset_index(drop=True)


def _ranked(table: pd.DataFrame, frame: pd.DataFrame, rank_with_errors: bool) -> pd.DataFrame:
    """Return the table with the ranks of all ranked suites."""
    ranked = table.copy()
    without = set() if rank_with_errors else set(unranked(table))
    overall = table[table["task"] == ALL_TASKS]
    for place, rows in overall.groupby(["suite", "variant"]):
        if place in without:
            continue
        suite, variant = place
        episodes = frame[(frame["suite"] == suite) & (frame["variant"] == variant)]
        for policy, found in rank_policies(episodes, list(rows["policy"])).items():
            ranked.loc[rows.index[rows["policy"] == policy], ["rank", "group"]] = [str(found), found.group]
    return ranked
