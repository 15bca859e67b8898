"""Ranks of policies in one suite, from the episodes that each two of them met."""

from collections.abc import Sequence
from itertools import combinations

import pandas as pd

from vla_bench.results.episode_record import KEY
from vla_bench.results.statistics.error_bounds import bounded_pairs
from vla_bench.results.statistics.multiplicity import holm
from vla_bench.results.statistics.pairs import PairCounts, mcnemar_exact, mean_difference
from vla_bench.results.statistics.ranks import Rank, rank
from vla_bench.results.statistics.sample_size import ALPHA

_SCENE = [*KEY, "scene_hash"]  # the same episode of two policies, and they began alike


def ranks(episodes: pd.DataFrame, policies: Sequence[str], alpha: float = ALPHA) -> dict[str, Rank]:
    """Return the ranks of `policies`, the best first, by exact McNemar tests of all pairs with Holm's adjustment.

    `episodes` are those of one suite and variant. Nothing, where there is one policy alone, or where two have no
    episode without an error in common.
    """
    outcomes = {policy: own.set_index(_SCENE)["outcome"] for policy, own in episodes.groupby("policy")}
    pairs = list(combinations(policies, 2))
    if not pairs or not set(policies) <= set(outcomes):
        return {}
    counts = [_tasks(outcomes[one], outcomes[other]) for one, other in pairs]
    if not all(any(task.pairs for task in tasks) for tasks in counts):
        return {}
    adjusted = holm(mcnemar_exact(sum(tasks, start=PairCounts(0, 0, 0, 0))) for tasks in counts)
    better = {
        (one, other) if mean_difference(tasks).value > 0 else (other, one)
        for (one, other), tasks, p in zip(pairs, counts, adjusted, strict=True)
        if p <= alpha
    }
    return rank(policies, better)


def _tasks(first: "pd.Series[str]", second: "pd.Series[str]") -> list[PairCounts]:
    """Return the pairs of each task."""
    common = first.index.intersection(second.index)
    ours, theirs = first[common], second[common]
    return [bounded_pairs(part, theirs[part.index]).counted for _, part in ours.groupby(level="task")]
