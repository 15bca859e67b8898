"""The exponent of a power law through measured points."""

import math
from collections.abc import Sequence

from scipy import stats

from vla_bench.benchmarking.growth_points import Exponent

_CONFIDENCE = 0.95


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> Exponent:
    """Return the slope of log cost against log size, with its 95 % interval (Student's t, n - 2 degrees of freedom).

    Raise ValueError for fewer than three points or one that is not above 0.
    """
    if len(sizes) < 3 or len(sizes) != len(costs) or min(*sizes, *costs) <= 0:
        raise ValueError(
            f"An exponent needs three points above 0 or more, not {list(zip(sizes, costs, strict=False))}."
        )
    line = stats.linregress([math.log(size) for size in sizes], [math.log(cost) for cost in costs])
    error = 0.0 if math.isnan(line.stderr) else float(line.stderr)  # nan where all costs are equal: a perfect fit
    half = float(stats.t.ppf((1 + _CONFIDENCE) / 2, len(sizes) - 2)) * error
    return Exponent(value=float(line.slope), low=float(line.slope) - half, high=float(line.slope) + half)
