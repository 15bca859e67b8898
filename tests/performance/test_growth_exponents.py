"""Exponents of power laws that are known."""

import numpy as np
import pytest

from vla_bench.performance.scaling import fit_exponent


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_law_is_its_power(power: float) -> None:
    sizes = [1.0, 10.0, 100.0, 1000.0]
    found = fit_exponent(sizes, [3.0 * size**power for size in sizes])
    assert found.value == pytest.approx(power, abs=1e-9)
    assert found.high - found.low < 1e-6


def test_the_interval_covers_the_power_19_times_in_20() -> None:
    generator = np.random.default_rng(0)
    sizes = [10.0, 30.0, 100.0, 300.0, 1000.0]
    covered = 0
    for _ in range(400):
        noise = np.exp(generator.normal(0.0, 0.1, len(sizes)))
        found = fit_exponent(sizes, [size * factor for size, factor in zip(sizes, noise, strict=True)])
        covered += found.low <= 1.0 <= found.high
    assert 0.92 <= covered / 400 <= 0.98


@pytest.mark.parametrize("costs", [[1.0, 2.0], [1.0, 0.0, 2.0]])
def test_an_exponent_needs_three_points_above_zero(costs: list[float]) -> None:
    with pytest.raises(ValueError, match="needs three points above 0"):
        fit_exponent([1.0, 2.0, 3.0][: len(costs)], costs)
