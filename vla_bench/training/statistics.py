"""Statistics of demonstrations, as OpenVLA normalises by them."""

import numpy as np

from vla_bench.core.types import ACTION_DIM
from vla_bench.models.normalization import DatasetStatistics, VectorStatistics
from vla_bench.training.dataset import DemonstrationDataset

_ACTION_MASK = np.array([True] * (ACTION_DIM - 1) + [False])  # the gripper is left as it is


def dataset_statistics(dataset: DemonstrationDataset) -> DatasetStatistics:
    """Return q01, q99, mean, standard deviation and range of actions and, where there is any, proprioception."""
    seen = dataset.proprioception.shape[1] > 0
    return DatasetStatistics(
        action=VectorStatistics.of(dataset.actions, _ACTION_MASK),
        proprioception=VectorStatistics.of(dataset.proprioception) if seen else None,
        num_trajectories=dataset.episodes,
        num_transitions=len(dataset),
    )
