"""Statistics of success rates: arrays and counts in, numbers out, without knowledge of runs.

docs/statistics.md describes which number means what.
"""

from vla_bench.results.statistics.proportions import CONFIDENCE, NAN, Proportion, mean_and_std, wilson

__all__ = ["CONFIDENCE", "NAN", "Proportion", "mean_and_std", "wilson"]
