"""Exponents fitted to known power laws."""

import numpy as np
import pytest

from vla_bench.performance.scaling import fit_exponent


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_exponent_of_an_exact_power_law(power: float) -> None:
    sizes = [1.0, 10.0, 100.0, 1000.0]
    found = fit_exponent(sizes, [3.0 * size**power for size in sizes])
    assert found.value == pytest.approx(power, abs=1e-9)
    assert found.high - found.low < 1e-6


def test_interval_covers_the_exponent_at_the_nominal_rate() -> None:
    generator = np.random.default_rng(0)
    sizes = [10.0, 30.0, 100.0, 300.0, 1000.0]
    covered = 0
    for _ in range(400):
        noise = np.exp(generator.normal(0.0, 0.1, len(sizes)))
        found = fit_exponent(sizes, [size * factor for size, factor in zip(sizes, noise, strict=True)])
        covered += found.low <= 1.0 <= found.high
    assert 0.92 <= covered / 400 <= 0.98


@pytest.mark.parametrize("costs", [[1.0, 2.0], [1.0, 0.0, 2.0]])
def test_exponent_needs_three_positive_points(costs: list[float]) -> None:
    with pytest.raises(ValueError, match="at least three points with positive values"):
        fit_exponent([1.0, 2.0, 3.0][: len(costs)], costs)
