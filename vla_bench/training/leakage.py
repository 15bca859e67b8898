"""Whether what a network is validated with is really unseen."""

import hashlib

import numpy as np

from vla_bench.core.errors import ConventionError
from vla_bench.training.dataset import DemonstrationDataset


def require_apart(train: DemonstrationDataset, valid: DemonstrationDataset) -> None:
    """Raise `ConventionError` where an episode, told by its actions and proprioception, is in both data sets.

    So it is in files that overlap and are divided differently, and in one whose own subsets overlap.
    """
    trained = _episodes(train)
    for digest, source in _episodes(valid).items():
        if digest in trained:
            other = trained[digest]
            where = f"{source} is trained on and validated with"
            where = (
                where if other == source else f"{source}, to validate with, is the same episode as {other}, to train on"
            )
            raise ConventionError(
                f"{where}: the validation error would say nothing. Leave one file out, or divide them anew "
                "(`vla-bench demos merge`, then `split`)."
            )


def _episodes(dataset: DemonstrationDataset) -> dict[str, str]:
    """Return digest -> file and demonstration."""
    ends = np.unique(dataset.last_frame) + 1
    starts = [0, *ends[:-1]]
    digests = (
        hashlib.sha256(dataset.actions[start:end].tobytes() + dataset.proprioception[start:end].tobytes()).hexdigest()
        for start, end in zip(starts, ends, strict=True)
    )
    return dict(zip(digests, dataset.sources, strict=True)) if dataset.sources else {}
