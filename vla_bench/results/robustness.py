"""What perturbations cost, from the ledgers alone: each perturbed episode beside the clean one of the same scene."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from vla_bench.core.episode import CLEAN, other_kind_of_scene_hash
from vla_bench.core.errors import VlaBenchError
from vla_bench.results.certificates import CERTIFICATES_NAME, read_certificates
from vla_bench.results.leaderboard import ALL_TASKS
from vla_bench.results.runs import read_run
from vla_bench.results.statistics.multiplicity import holm
from vla_bench.results.statistics.pairs import PairCounts, mcnemar_exact, mean_difference
from vla_bench.results.statistics.suite_average import fixed_tasks
from vla_bench.results.tables import TextTable

ROBUSTNESS_COLUMNS: dict[str, type] = {
    "policy": str,
    "suite": str,
    "variant": str,  # the perturbation
    "task": str,  # (all): the suite's average, each task counting alike
    "pairs": int,  # scenes met both clean and perturbed
    "certified": float,  # share of the perturbed episodes tried that the expert solves, 0..1
    "replaced": int,  # episodes that it does not solve, replaced by later indices
    "clean_rate": float,  # 0..1, of those pairs
    "perturbed_rate": float,
    "perturbed_low": float,  # Wilson's interval; of (all): of the tasks' average, as in the leaderboard
    "perturbed_high": float,
    "drop": float,  # clean less perturbed, -1..1, with its 95 % interval
    "drop_low": float,
    "drop_high": float,
    "p": float,  # exact McNemar, two-sided
    "p_holm": float,  # adjusted over the suite's perturbations; of a task: over its tasks as well
}
_PAIR = ("suite", "task", "episode_index", "seed")
_NOTHING = "\N{EN DASH}"


def robustness(run: Path) -> pd.DataFrame:
    """Return a row for each perturbation and task, and one for all tasks.

    Episodes that ended in an error of the harness are left out with their twins. Raise `VlaBenchError` without clean
    episodes, without certificates, or where the policy met another scene than the certified one.
    """
    policy, certificates = read_run(run), read_certificates(run / CERTIFICATES_NAME)
    _require_same_scenes(run, policy.episodes, certificates)
    episodes = policy.episodes[policy.episodes["outcome"] != "error"]
    clean = episodes[episodes["variant"] == CLEAN].set_index(list(_PAIR))["outcome"] == "success"
    if clean.empty:
        raise VlaBenchError(f"{run} holds no clean episodes to compare perturbed ones with.")
    rows = []
    for (suite, variant), part in episodes[episodes["variant"] != CLEAN].groupby(["suite", "variant"], sort=False):
        perturbed = part.set_index(list(_PAIR))["outcome"] == "success"
        both = clean.index.intersection(perturbed.index)
        share = _certified(certificates, str(suite), str(variant))
        counts = {
            str(task): PairCounts.of(clean.loc[index], perturbed.loc[index]) for task, index in _by_task(both).items()
        }
        place = {"policy": policy.info.policy, "suite": suite, "variant": variant}
        rows += [{**place, "task": task, **_row([one]), **share[task]} for task, one in counts.items()]
        rows.append({**place, "task": ALL_TASKS, **_row(list(counts.values())), **share[ALL_TASKS]})
    table = pd.DataFrame(rows, columns=list(ROBUSTNESS_COLUMNS))
    table["p_holm"] = table["p"]
    for _, part in table.groupby(["suite", table["task"] == ALL_TASKS]):
        table.loc[part.index, "p_holm"] = holm(part["p"].tolist())
    return table.astype(ROBUSTNESS_COLUMNS)


def robustness_table(table: pd.DataFrame, names: Mapping[str, str] | None = None) -> TextTable:
    """Return the averages over tasks, the costliest perturbation first; `names` are shorter ones of perturbations."""
    averages = table[table["task"] == ALL_TASKS].sort_values("drop", ascending=False, kind="stable")
    rows = [
        (
            (names or {}).get(str(row["variant"]), str(row["variant"])),
            str(row["pairs"]),
            f"{100 * row['certified']:.0f}",
            str(row["replaced"]),
            f"{100 * row['clean_rate']:.1f}",
            f"{100 * row['perturbed_rate']:.1f} [{100 * row['perturbed_low']:.1f}, {100 * row['perturbed_high']:.1f}]",
            f"{100 * row['drop']:.1f} [{100 * row['drop_low']:.1f}, {100 * row['drop_high']:.1f}]",
            f"{row['p_holm']:.3f}" if row["p_holm"] >= 0.001 else "<0.001",
        )
        for row in averages.to_dict("records")
    ]
    policy = ", ".join(dict.fromkeys(table["policy"])) or _NOTHING
    header = ("perturbation", "pairs", "certified", "replaced", "clean", "perturbed", "drop", "p (Holm)")
    note = (
        "Success in percent on the same scenes, with 95 % intervals; the drop in percentage points, paired. Certified: "
        "share of the perturbed episodes tried that the expert solves; only those are used, and each of the others is "
        "replaced by that of the next index, where there is one. p: exact McNemar test, adjusted "
        "over the perturbations by Holm's method."
    )
    return TextTable(f"Robustness of {policy}", header, tuple(rows), left=1, conditions=(note,))


def _by_task(index: "pd.Index[Any]") -> dict[str, "pd.Index[Any]"]:
    tasks = index.get_level_values("task")
    return {str(task): index[tasks == task] for task in tasks.unique()}


def _row(tasks: list[PairCounts]) -> dict[str, float]:
    total = sum(tasks[1:], start=tasks[0])
    successes = [task.both + task.second_only for task in tasks]
    perturbed, drop = fixed_tasks(successes, [task.pairs for task in tasks]), mean_difference(tasks)
    return {
        "pairs": total.pairs,
        "clean_rate": sum(task.first_rate for task in tasks) / len(tasks),
        "perturbed_rate": perturbed.rate,
        "perturbed_low": perturbed.low,
        "perturbed_high": perturbed.high,
        "drop": drop.value,
        "drop_low": drop.low,
        "drop_high": drop.high,
        "p": mcnemar_exact(total),
    }


def _certified(certificates: pd.DataFrame, suite: str, variant: str) -> dict[str, dict[str, float]]:
    own = certificates[(certificates["suite"] == suite) & (certificates["variant"] == variant)]
    own = own[own["error"] == ""]
    parts = {**{str(task): part for task, part in own.groupby("task")}, ALL_TASKS: own}
    return {
        task: {"certified": float(part["solved"].mean()), "replaced": int((~part["solved"]).sum())}
        for task, part in parts.items()
    }


def _require_same_scenes(run: Path, episodes: pd.DataFrame, certificates: pd.DataFrame) -> None:
    """Raise `VlaBenchError` where an episode has no certificate, or began otherwise than the certified one."""
    key = [*_PAIR, "variant"]
    judged = episodes[episodes["outcome"] != "error"]
    both = judged.merge(certificates[certificates["solved"]], how="left", on=key, suffixes=("", "_certified"))
    others = both[both["scene_hash"] != both["scene_hash_certified"]]
    if not others.empty:
        first = others.iloc[0]
        certified = first["scene_hash_certified"]  # NaN where there is none
        if isinstance(certified, str) and (kinds := other_kind_of_scene_hash(first["scene_hash"], certified)):
            raise VlaBenchError(f"The scenes of {run} cannot be compared with its certificates: {kinds}. Run it again.")
        raise VlaBenchError(
            f"{len(others)} episodes of {run} began otherwise than their certificates say, such as {first['task']}/"
            f"{first['variant']}/{first['episode_index']}: the code has changed between. Measure into another folder."
        )
