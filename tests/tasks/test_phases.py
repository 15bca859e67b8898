"""Progress, phases and forbidden things follow from a task's goals and the world."""

from dataclasses import replace

import pytest

from tests.tasks.small_world import SmallWorld, touching
from vla_bench.tasks import Goal, get_task
from vla_bench.tasks.phases import PHASES, phase_of

TASK = get_task("tabletop_object.red_cube_in_basket")
LOW, HIGH = (0.0, 0.0, 0.82), (0.0, 0.0, 0.92)
BASKET = {"basket": (0.0, 0.3, 0.83)}
IN = {("red_cube", "basket")}
HELD = touching(("red_cube", "gripper"))

WORLDS = [
    ("reach", 0.0, SmallWorld({"red_cube": LOW, **BASKET})),
    ("grasp", 0.0, SmallWorld({"red_cube": LOW, **BASKET}, contacts=HELD)),
    ("carry", 0.0, SmallWorld({"red_cube": HIGH, **BASKET}, initial={"red_cube": LOW}, contacts=HELD)),
    ("release", 0.5, SmallWorld({"red_cube": LOW, **BASKET}, contacts=HELD, contained=IN)),
    ("done", 1.0, SmallWorld({"red_cube": LOW, **BASKET}, contained=IN)),
]


@pytest.mark.parametrize(("phase", "progress", "world"), WORLDS, ids=[phase for phase, _, _ in WORLDS])
def test_phase_and_progress(phase: str, progress: float, world: SmallWorld) -> None:
    assert phase_of(TASK, world) == phase
    assert TASK.progress(world) == progress


def test_every_phase_is_listed_in_order() -> None:
    assert tuple(phase for phase, _, _ in WORLDS) == PHASES


def test_a_forbidden_thing_is_noticed() -> None:
    task = replace(TASK, must_not=(Goal("moved", ("basket",)),))
    still = SmallWorld({"red_cube": LOW, **BASKET})
    pushed = replace(still, initial={"basket": (0.0, 0.2, 0.83)})
    assert not task.violated(still)
    assert task.violated(pushed)
    assert not TASK.violated(pushed)
