"""Several tests at once: p-values adjusted so that the chance of any false discovery stays at alpha."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.multitest import multipletests


def holm(p_values: Iterable[float]) -> NDArray[np.float64]:
    """Return Holm's adjusted p-values in the order given; NaN, a test that could not be made, stays and is not counted.

    Holm (1979) holds the family-wise error whatever the dependence between the tests.
    """
    adjusted = np.array(list(p_values), dtype=np.float64)
    made = ~np.isnan(adjusted)
    if made.any():
        adjusted[made] = multipletests(adjusted[made], method="holm")[1]
    return adjusted
