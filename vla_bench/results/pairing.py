"""Pairing of runs on identical episodes, and the errors if runs cannot be paired."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pandas as pd

from vla_bench.core.episode import other_kind_of_scene_hash
from vla_bench.core.errors import VlaBenchError
from vla_bench.results.episode_record import KEY
from vla_bench.results.errors import IncomparableRunsError
from vla_bench.results.protocols import differing_fields, protocol_differences
from vla_bench.results.runs import Run, read_run


@dataclass(frozen=True)
class PairedRuns:
    """Runs with unique labels, and their outcomes of the episodes that all of them have in common."""

    runs: tuple[Run, ...]
    labels: tuple[str, ...]
    outcomes: pd.DataFrame  # one row per episode (index: identity), one column per label: success, failure or error
    left_out: dict[str, int]  # episodes of each label that another run does not have


def read_paired_runs(folders: Iterable[Path]) -> PairedRuns:
    """Read two or more runs for a comparison.

    Raise `IncomparableRunsError` if protocols differ, if there is no common episode, or if a common episode has
    different scenes.
    """
    distinct = list({folder.resolve(): folder for folder in folders}.values())
    if len(distinct) < 2:
        raise VlaBenchError(
            f"{len(distinct)} run was given. Comparing needs two or more different folders, "
            "as in `vla-bench compare runs/a runs/b`."
        )
    return pair_runs([read_run(folder) for folder in distinct])


def pair_runs(runs: Sequence[Run]) -> PairedRuns:
    """Pair runs; see `read_paired_runs`."""
    for first, second in combinations(runs, 2):
        require_same_protocol(first, second)
    episodes = [run.episodes.set_index(list(KEY)) for run in runs]
    common = episodes[0].index
    for run, own in zip(runs[1:], episodes[1:], strict=True):
        if episodes[0].index.intersection(own.index).empty:
            raise _unpaired(runs[0], run)
        common = common.intersection(own.index)
    for run, own in zip(runs[1:], episodes[1:], strict=True):
        _require_same_scenes(runs[0], run, episodes[0].loc[common, "scene_hash"], own.loc[common, "scene_hash"])
    if common.empty:
        raise VlaBenchError(
            f"No episode is common to all {len(runs)} runs, although any two share some. Compare two at a time."
        )
    labels = run_labels(runs)
    columns = {label: own.loc[common, "outcome"] for label, own in zip(labels, episodes, strict=True)}
    left_out = {label: len(own) - len(common) for label, own in zip(labels, episodes, strict=True)}
    return PairedRuns(tuple(runs), labels, pd.DataFrame(columns).sort_index(), left_out)


def run_labels(runs: Sequence[Run]) -> tuple[str, ...]:
    """Return a label per run: its policy, or its folder if several runs have the same policy."""
    policies = [run.info.policy for run in runs]
    names = [run.folder.resolve().name for run in runs]
    labels = [
        policy if policies.count(policy) == 1 else (name if names.count(name) == 1 else str(run.folder))
        for policy, name, run in zip(policies, names, runs, strict=True)
    ]
    clashing = len(set(labels)) < len(labels)  # a folder may have the name of another run's policy
    return tuple(str(run.folder) for run in runs) if clashing else tuple(labels)


def require_same_episodes(first: Run, second: Run) -> None:
    """Raise `IncomparableRunsError` if protocols differ or a common episode has different scenes."""
    require_same_protocol(first, second)
    ours, theirs = (run.episodes.set_index(list(KEY))["scene_hash"] for run in (first, second))
    common = ours.index.intersection(theirs.index)
    _require_same_scenes(first, second, ours.loc[common], theirs.loc[common])


def require_same_protocol(first: Run, second: Run) -> None:
    """Raise `IncomparableRunsError` if the protocols of common suites differ."""
    if not set(first.suites) & set(second.suites):
        return  # no common episode: reported with the differing part of the identity
    if differences := protocol_differences(first.info.protocol, second.info.protocol):
        advice = f"Run one of them again with the protocol of the other; {second.folder}/run.json has its command."
        raise IncomparableRunsError(first.folder, second.folder, "have different protocols", differences, advice)


def _unpaired(first: Run, second: Run) -> IncomparableRunsError:
    """Raise `IncomparableRunsError` with the first part of the identity in which the episodes differ."""
    names = {"suite": "--suite", "variant": "--perturb", "task": "--task", "seed": "--seed", "episode_index": "-n"}
    for name, option in names.items():
        ours, theirs = (set(run.episodes[name]) for run in (first, second))
        if not ours & theirs:
            differences = [f"{name}: {_value_list(ours)}, then {_value_list(theirs)}"]
            advice = f"Run one again with the `{option}` of the other: comparisons need identical episodes."
            break
    else:
        differences = ["each part of the identity occurs in both runs, but not in combination"]
        advice = "Run one again with the options of the other: comparisons need identical episodes."
    reason = f"have 0 episodes in common ({len(first.episodes)} and {len(second.episodes)} are recorded)"
    return IncomparableRunsError(first.folder, second.folder, reason, differences, advice)


def _require_same_scenes(first: Run, second: Run, ours: "pd.Series[str]", theirs: "pd.Series[str]") -> None:
    """Raise `IncomparableRunsError` for different scenes; an early error has no scene hash."""
    different = ours.index[(ours != theirs) & (ours != "") & (theirs != "")]
    if different.empty:
        return
    details = [f"scene_hash: {ours[different[0]]}, then {theirs[different[0]]}"]
    if kinds := other_kind_of_scene_hash(ours[different[0]], theirs[different[0]]):
        advice = "Run that one again: its hashes cannot be compared with those of the other."
        raise IncomparableRunsError(
            first.folder, second.folder, "have two kinds of scene hashes", [*details, kinds], advice
        )
    suite, task, variant, index, seed = different[0]
    reason = (
        f"have different scenes in {len(different)} of {len(ours)} common episodes, "
        f"first {suite}.{task} {variant} {index} seed {seed}"
    )
    details += differing_fields(first.info.versions, second.info.versions, "versions")
    advice = "Run both again with the same versions and the same tasks and scenes."
    raise IncomparableRunsError(first.folder, second.folder, reason, details, advice)


def _value_list(values: set[object], most: int = 4) -> str:
    shown = sorted(map(str, values))
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")
