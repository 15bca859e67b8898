"""Predicates that robosuite's tasks brought: around a peg, an unlatched door, dirt, two arms."""

import numpy as np
import pytest

from tests.tasks.small_world import SmallWorld
from vla_bench.core.errors import ConventionError
from vla_bench.tasks.task import Goal


@pytest.mark.parametrize(
    ("offset", "holds"),
    [((0.0, 0.0, -0.1), True), ((0.0, 0.0, -0.05), False), ((0.04, 0.0, -0.1), False), ((0.0, 0.0, 0.05), False)],
)
def test_around_means_well_below_the_top_of_the_peg(offset: tuple[float, float, float], holds: bool) -> None:
    peg = np.array([0.2, 0.1, 0.95])
    world = SmallWorld({"nut": tuple(peg + offset), "peg": tuple(peg)})
    assert Goal.parse("around(nut, peg)").holds(world) == holds


@pytest.mark.parametrize(("rise", "holds"), [(0.11, True), (0.09, False)])
def test_a_pot_counts_as_lifted_from_10_cm_on(rise: float, holds: bool) -> None:
    world = SmallWorld({"pot": (0.0, 0.0, 0.9 + rise)}, initial={"pot": (0.0, 0.0, 0.9)})
    assert Goal.parse("lifted_level(pot)").holds(world) == holds


def test_what_cannot_be_wiped_is_told() -> None:
    with pytest.raises(ConventionError, match="Goal `wiped` needs a scene with dirt, such as robosuite's Wipe"):
        Goal.parse("wiped(table)").holds(SmallWorld({"table": (0.0, 0.0, 0.8)}))
