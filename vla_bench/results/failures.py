"""Where the episodes that failed went wrong, from their ledger, beside the expert's on the same episodes."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from vla_bench.results.ledger import KEY
from vla_bench.results.runs import read_run
from vla_bench.results.tables import Row, TextTable

FAILURE_COLUMNS: dict[str, type] = {
    "suite": str,
    "task": str,
    "variant": str,
    "episode_index": int,
    "seed": int,
    "bucket": str,
    "phase": str,  # the furthest reached
    "progress": float,
    "final_progress": float,
    "steps": int,
    "drops": int,
    "disturbed": int,
    "path_length_m": float,
    "peak_force_n": float,
    "path_over_expert": float,  # path length over the expert's in the same episode; nan where that is not known
    "video": str,  # beside the ledger, where one was recorded
}

_BUCKETS: dict[str, Callable[[Row], bool]] = {  # the first that fits; see docs/ledger.md
    "lost again what was reached": lambda one: _number(one, "final_progress") < _number(one, "progress"),
    "dropped it": lambda one: _number(one, "drops") > 0,
    "met some sub-goals": lambda one: _number(one, "progress") > 0,
    "held it, did not place it": lambda one: one["phase"] in ("carry", "lift", "place", "release"),
    "touched it, did not grasp it": lambda one: one["phase"] == "grasp",
    "took hold, did not move it": lambda one: one["phase"] in ("push", "operate"),
    "moved something else": lambda one: _number(one, "disturbed") > 0,
    "never reached it": lambda one: True,
}


def failures(run: Path, expert: Path | None = None) -> pd.DataFrame:
    """Return a row for each failed episode of `run`, the most frequent bucket first.

    `expert` is the expert's run on the same episodes.
    """
    episodes = read_run(run).episodes
    failed = episodes[episodes["outcome"] == "failure"].copy()
    failed["bucket"] = [_bucket(one) for one in failed.to_dict("records")]
    failed["path_over_expert"] = _over_expert(failed, expert)
    failed["video"] = [_video(run, one) for one in failed.to_dict("records")]
    order = failed["bucket"].map(failed["bucket"].value_counts())
    failed = failed.assign(_often=order).sort_values(["_often", "bucket", *KEY], ascending=[False] + [True] * 6)
    return failed[list(FAILURE_COLUMNS)].astype(FAILURE_COLUMNS).reset_index(drop=True)


def failure_table(table: pd.DataFrame, episodes: int) -> TextTable:
    """Return a row a bucket: how many episodes, which tasks, and the first videos."""
    rows = []
    for bucket, part in table.groupby("bucket", sort=False):
        tasks = part["task"].value_counts()
        videos = [name for name in part["video"] if name]
        rows.append(
            (
                str(bucket),
                f"{len(part)}",
                f"{100 * len(part) / episodes:.0f}",
                ", ".join(f"{task} {count}" for task, count in tasks.items()),
                ", ".join(videos[:2]),
            )
        )
    header = ("what went wrong", "episodes", "share", "tasks", "videos")
    return TextTable(f"{len(table)} of {episodes} episodes failed", header, tuple(rows), left=1)


def _bucket(one: Row) -> str:
    return next(name for name, fits in _BUCKETS.items() if fits(one))


def _number(one: Row, name: str) -> float:
    return float(str(one[name]))


def _over_expert(failed: pd.DataFrame, expert: Path | None) -> list[float]:
    if expert is None:
        return [float("nan")] * len(failed)
    own = read_run(expert).episodes
    paths = own[own["path_length_m"] > 0].set_index(list(KEY))["path_length_m"].to_dict()
    keys = failed[list(KEY)].itertuples(index=False, name=None)
    return [
        float(length) / paths[key] if key in paths and length >= 0 else float("nan")
        for key, length in zip(keys, failed["path_length_m"], strict=True)
    ]


def _video(run: Path, one: Row) -> str:
    name = "{suite}.{task}_{variant}_seed{seed}_{episode_index:04d}.mp4".format(
        **{str(key): value for key, value in one.items()}
    )
    return f"videos/{name}" if (run / "videos" / name).is_file() else ""
