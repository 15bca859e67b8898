import numpy as np
import pytest
from numpy.typing import NDArray

from vla_bench.results.statistics.paired import fraction_lost


def task(own: str, *columns: str) -> NDArray[np.bool_]:
    return np.array([[letter == "s" for letter in column] for column in (own, *columns)]).T


def test_the_better_control_and_the_better_floor_count() -> None:
    found = fraction_lost([task("sssssssssf", "ssffffffff", "sfffffffff", "ffffffffff", "sfffffffff")], without=2)
    assert found.value == pytest.approx((0.9 - 0.2) / (0.9 - 0.1))


def test_each_task_counts_alike() -> None:
    long, short = task("s" * 30, "s" * 30, "f" * 30), task("ss", "ff", "ff")
    assert fraction_lost([long, short], without=1).value == pytest.approx(0.5)


def test_more_is_not_lost_than_all_and_not_less_than_nothing() -> None:
    assert fraction_lost([task("ssff", "ffff", "sfff")], without=1).value == 1.0
    assert fraction_lost([task("ssff", "ssss", "ffff")], without=1).value == 0.0


def test_there_is_a_width_where_all_episodes_ended_alike() -> None:
    few, many = (fraction_lost([task("s" * count, "f" * count, "f" * count)], without=1) for count in (10, 100))
    assert few.value == many.value == few.high == 1.0
    assert few.low < many.low < 1.0


@pytest.mark.parametrize("tasks", [[], [task("ff", "ff", "ff")], [task("sf", "ff", "fs")]])
def test_there_is_no_share_at_the_floor(tasks: list[NDArray[np.bool_]]) -> None:
    assert np.isnan(fraction_lost(tasks, without=1).value)


def test_the_interval_covers() -> None:
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(100):
        own = generator.random(60) < 0.8
        kept = own & (generator.random(60) < 0.5)
        found = fraction_lost([np.stack([own, kept, np.zeros(60, bool)], axis=1)], without=1)
        covered += found.low <= 0.5 <= found.high
    assert covered >= 88
