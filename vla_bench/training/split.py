"""Which episodes of a source a network is trained on, and which it is validated on."""

import zlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np

from vla_bench.demos.sources import DemonstrationSource, EpisodeFacts

Subset = Literal["train", "valid"]


def episodes_of(
    source: DemonstrationSource,
    subset: Subset,
    *,
    tasks: Sequence[str] = (),
    success_only: bool = True,
    validation_share: float = 0.1,
    seed: int = 0,
) -> list[EpisodeFacts]:
    """Return the episodes of a subset, in the source's order.

    The source's own subsets `train` and `valid` decide where it has both; otherwise a share of each task's episodes
    validates, drawn by the seed. `tasks` are `suite.task`, none of them meaning all.
    """
    members = {name: source.subset(name) for name in ("train", "valid")}
    chosen = members[subset]
    if chosen is None or any(names is None for names in members.values()):
        validating = _validating(source.episodes, validation_share, seed)
        chosen = tuple(one.name for one in source.episodes if (one.name in validating) == (subset == "valid"))
    wanted = set(chosen)
    return [
        episode
        for episode in source.episodes
        if episode.name in wanted
        and (not tasks or episode.task_id in tasks)
        and not (success_only and episode.success is False)
    ]


def _validating(episodes: Sequence[EpisodeFacts], share: float, seed: int) -> set[str]:
    by_task: dict[str, list[str]] = defaultdict(list)
    for episode in episodes:
        by_task[episode.task_id].append(episode.name)
    chosen: set[str] = set()
    for task, names in by_task.items():
        count = min(len(names) - 1, max(1, round(share * len(names)))) if share > 0 else 0
        order = np.random.default_rng([seed, zlib.crc32(task.encode())]).permutation(len(names))
        chosen |= {names[number] for number in order[:count]}
    return chosen
