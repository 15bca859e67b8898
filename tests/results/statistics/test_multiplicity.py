import math

import pytest

from vla_bench.results.statistics.multiple_comparisons import holm


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_adjusted_values_stay_at_most_one_and_in_order() -> None:
    assert holm([0.9, 0.5]) == pytest.approx([1.0, 1.0])


def test_tests_that_could_not_be_made_are_not_counted() -> None:
    adjusted = holm([0.02, math.nan, 0.04])
    assert math.isnan(adjusted[1])
    assert adjusted[[0, 2]] == pytest.approx([0.04, 0.04])
    assert holm([]).size == 0
