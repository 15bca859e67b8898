"""The statistics behind every table: one module a thing, arrays and counts in, numbers out; nothing here knows of runs.

docs/statistics.md says which number means what. What the others build on is given here by name.
"""

from vla_bench.results.statistics.proportions import CONFIDENCE, NAN, Proportion, mean_and_std, wilson

__all__ = ["CONFIDENCE", "NAN", "Proportion", "mean_and_std", "wilson"]
