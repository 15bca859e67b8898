"""What episodes that ended in an error could change: the counts without them, and in the worst and the best case."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from vla_bench.results.statistics.pairs import PairCounts


@dataclass(frozen=True)
class BoundedPairs:
    """Pairs of outcomes, counted three ways; all the same where no episode ended in an error."""

    counted: PairCounts  # pairs with an error left out
    worst: PairCounts  # for the first policy: its errors are failures, those of the second successes
    best: PairCounts  # the other way round
    errors: int  # pairs in which a policy had an error


def bounded_pairs(first: "pd.Series[str]", second: "pd.Series[str]") -> BoundedPairs:
    """Count the outcomes `success`, `failure` and `error` of two policies in the same episodes."""
    one, other = first.to_numpy(), second.to_numpy()
    broken = (one == "error") | (other == "error")
    return BoundedPairs(
        counted=PairCounts.of(one[~broken] == "success", other[~broken] == "success"),
        worst=PairCounts.of(one == "success", np.isin(other, ("success", "error"))),
        best=PairCounts.of(np.isin(one, ("success", "error")), other == "success"),
        errors=int(broken.sum()),
    )
