"""From the network's normalised numbers to actions, as OpenVLA-OFT does it."""

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.types import FloatArray
from vla_bench.models.normalization import VectorStatistics

_RANGE_OFFSET = 1e-8  # the inverse of normalisation, which OpenVLA itself leaves out


def unnormalised_actions(statistics: VectorStatistics, normalised: FloatArray) -> NDArray[np.float32]:
    """Return `0.5 (x + 1) (q99 - q01 + 1e-8) + q01` where the mask is set, of values (..., D)."""
    data = np.asarray(normalised, dtype=np.float64)
    scaled = 0.5 * (data + 1.0) * (statistics.q99 - statistics.q01 + _RANGE_OFFSET) + statistics.q01
    return np.where(statistics.mask, scaled, data).astype(np.float32)
