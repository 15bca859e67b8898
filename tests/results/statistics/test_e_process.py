import numpy as np
import pytest
from scipy.integrate import quad

from vla_bench.results.statistics.e_process import (
    DIFFERENCES,
    STAKES,
    Capital,
    DifferenceEvidence,
    RoundCounts,
    log_mean_exp,
    task_log_evidence,
)


def counts(wins: list[int], losses: list[int], pairs: list[int], stakes: list[int] | None = None) -> RoundCounts:
    return RoundCounts(*(np.array(values) for values in (wins, losses, pairs, stakes or [1] * len(wins))))


def test_capital_against_no_difference_is_the_beta_binomial_mixture() -> None:
    wins, losses = 14, 5
    capital = Capital()
    capital.add(counts([wins], [losses], [40]))
    mixture, _ = quad(lambda stake: (1 + stake) ** wins * (1 - stake) ** losses, 0, 1)
    assert capital.log_peak()[DIFFERENCES.size // 2] == pytest.approx(np.log(mixture), abs=5e-3)


def test_evidence_is_by_hand() -> None:
    expected = np.mean((1 + STAKES) ** 3 * (1 - STAKES))
    evidence = DifferenceEvidence()
    evidence.add(counts([2, 1], [0, 1], [5, 5]))
    assert evidence.log_first_better() == pytest.approx(np.log(expected))
    assert evidence.log_second_better() == 0.0  # never above what it began with
    both = (expected + np.mean((1 - STAKES) ** 3 * (1 + STAKES))) / 2
    assert task_log_evidence(3, 1) == task_log_evidence(1, 3) == pytest.approx(np.log(both))


def test_a_task_with_several_pairs_a_round_spreads_its_stake() -> None:
    capital = Capital(np.array([0.0]))
    capital.add(counts([3, 1], [1, 0], [8, 2], [2, 1]))
    expected = np.mean((1 + STAKES / 2) ** 3 * (1 - STAKES / 2) * (1 + STAKES))
    assert capital.log_peak() == pytest.approx(np.log(expected))


@pytest.mark.parametrize("chances", [([0.3, 0.1], [0.1, 0.3]), ([0.9, 0.0], [0.1, 0.8]), ([0.2, 0.5], [0.4, 0.3])])
@pytest.mark.parametrize("asked", [(1, 1), (2, 1), (1, 3)])
def test_a_round_is_not_expected_to_win_where_the_tasks_are_equal_on_average(
    chances: tuple[list[float], list[float]], asked: tuple[int, int]
) -> None:
    differences = np.subtract(*chances)
    for stake in (0.01, 0.5, 0.99):
        expected = np.prod([(1 + stake / k * d) ** k for k, d in zip(asked, differences, strict=True)])
        assert expected <= 1.0
    assert differences.sum() == pytest.approx(0.0)


def test_limits_close_in_on_the_difference_and_stay_around_it() -> None:
    generator = np.random.default_rng(3)
    evidence = DifferenceEvidence()
    widths = []
    for _ in range(40):
        kinds = generator.multinomial(10, [0.3, 0.1, 0.6], size=2)
        evidence.add(counts(*kinds[:, :2].T.tolist(), [10, 10]))
        low, high = evidence.interval(0.05)
        assert low <= 0.2 <= high
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.2


def test_limits_and_decision_agree() -> None:
    evidence = DifferenceEvidence()
    while evidence.log_first_better() < np.log(2 / 0.05):
        assert evidence.interval(0.05)[0] < 0
        evidence.add(counts([1], [0], [1]))
    assert evidence.interval(0.05)[0] >= 0


def test_before_anything_is_known_everything_is_possible() -> None:
    assert DifferenceEvidence().interval(0.05) == (-1.0, 1.0)


def test_mean_of_exponentials_does_not_overflow() -> None:
    assert log_mean_exp(np.array([1000.0, 1000.0])) == pytest.approx(1000.0)
    assert log_mean_exp(np.array([[0.0, -2000.0]])) == pytest.approx([np.log(0.5)])
