"""The leaderboard as a frame: success rates with their intervals, a row for each policy and task."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from vla_bench.results.runs import Run, merged, read_comparable_runs
from vla_bench.results.statistics import mean_and_std, wilson

ALL_TASKS = "(all)"
COLUMNS: dict[str, type] = {
    "policy": str,
    "suite": str,
    "task": str,
    "episodes": int,  # recorded, errors included
    "errors": int,
    "success_rate": float,  # of the episodes without error, 0..1
    "success_low": float,  # 95 % Wilson interval
    "success_high": float,
    "success_if_errors_fail": float,
    "success_if_errors_succeed": float,
    "mean_reward": float,  # this and what follows: of the episodes without error
    "std_reward": float,
    "mean_steps": float,
    "mean_progress": float,  # 0..1
    "variant": str,
    "missing": int,  # planned but not recorded yet
}


class Cell(NamedTuple):
    """What one row of the leaderboard is about."""

    suite: str
    variant: str
    policy: str
    task: str


def read_runs(paths: Iterable[Path]) -> pd.DataFrame:
    """Return the episodes of comparable runs, one row each: the ledgers' columns and `run`."""
    return merged(read_comparable_runs(paths))


def leaderboard(
    frame: pd.DataFrame, missing: Mapping[Cell, int] | None = None, *, rank_with_errors: bool = False
) -> pd.DataFrame:
    """Return the leaderboard of the episodes in `frame`: per suite the best policy first, `(all)` after its tasks.

    Errors count neither as success nor as failure; where there are any, a suite is not ranked, so its policies stand in
    order of their names, unless `rank_with_errors`. `(all)` pools the episodes of the suite's tasks. `missing` says how
    many planned episodes are not in `frame`.
    """
    lacking = dict(missing or {})
    pooled: dict[Cell, int] = {}
    for cell, count in lacking.items():
        overall = cell._replace(task=ALL_TASKS)
        pooled[overall] = pooled.get(overall, 0) + count
    rows = [*_rows(frame, lacking), *_rows(frame.assign(task=ALL_TASKS), pooled)]
    return _ranked(pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS), rank_with_errors)


def missing_episodes(runs: Sequence[Run]) -> dict[Cell, int]:
    """Count the episodes that the runs planned and have not recorded yet."""
    counts: dict[Cell, int] = {}
    for run in runs:
        for item, count in run.missing():
            cell = Cell(item.suite, item.variant, run.info.policy, item.task)
            counts[cell] = counts.get(cell, 0) + count
    return counts


def _rows(frame: pd.DataFrame, missing: Mapping[Cell, int]) -> list[dict[str, str | int | float]]:
    """Return a row for each cell that has episodes, or should have."""
    parts = {Cell(*map(str, key)): part for key, part in frame.groupby(list(Cell._fields))}
    nothing = frame.iloc[:0]
    return [_row(cell, parts.get(cell, nothing), missing.get(cell, 0)) for cell in {**parts, **missing}]


def _row(cell: Cell, episodes: pd.DataFrame, missing: int) -> dict[str, str | int | float]:
    scored = episodes[episodes["outcome"] != "error"]
    errors = len(episodes) - len(scored)
    successes = int((scored["outcome"] == "success").sum())
    success = wilson(successes, len(scored))
    mean_reward, std_reward = mean_and_std(scored["reward"])
    return {
        **cell._asdict(),
        "episodes": len(episodes),
        "errors": errors,
        "success_rate": success.rate,
        "success_low": success.low,
        "success_high": success.high,
        "success_if_errors_fail": wilson(successes, len(episodes)).rate,
        "success_if_errors_succeed": wilson(successes + errors, len(episodes)).rate,
        "mean_reward": mean_reward,
        "std_reward": std_reward,
        "mean_steps": mean_and_std(scored["steps"])[0],
        "mean_progress": mean_and_std(scored["progress"])[0],
        "missing": missing,
    }


def unranked(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the suites and variants in which episodes ended in an error: their order of policies means nothing."""
    broken = table[table["errors"] > 0]
    return list(dict.fromkeys(zip(broken["suite"], broken["variant"], strict=True)))


def _ranked(table: pd.DataFrame, rank_with_errors: bool) -> pd.DataFrame:
    overall = table[table["task"] == ALL_TASKS].set_index(list(Cell._fields[:3]))["success_rate"].to_dict()
    keys = [tuple(key) for key in table[list(Cell._fields[:3])].itertuples(index=False)]
    by_name = set() if rank_with_errors else set(unranked(table))
    order = table.assign(
        _rate=[0.0 if key[:2] in by_name else -overall[key] for key in keys],
        _last=table["task"] == ALL_TASKS,
    ).sort_values(["suite", "variant", "_rate", "policy", "_last", "task"], na_position="last")
    return order[list(COLUMNS)].reset_index(drop=True)
