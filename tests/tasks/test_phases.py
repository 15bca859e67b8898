"""Progress, phases and forbidden things follow from a task's goals and the world."""

from dataclasses import replace

import pytest

from tests.tasks.small_world import SmallWorld, touching
from vla_bench.tasks import Goal, Task, get_task
from vla_bench.tasks.progress import PHASES, phase_of

TASK = get_task("tabletop_object.red_cube_in_basket")
PUSH = replace(TASK, goal=(Goal("at", ("red_cube", "basket")),))
OPEN = replace(TASK, goal=(Goal("open", ("chest",)),))
LOW, HIGH = (0.0, 0.0, 0.82), (0.0, 0.0, 0.92)
BASKET = {"basket": (0.0, 0.3, 0.83)}
IN = {("red_cube", "basket")}
HELD = touching(("red_cube", "gripper"))

CHEST = SmallWorld(dict.fromkeys(("chest", "chest_drawer"), LOW), joint_positions={"chest_drawer": 0.5})

WORLDS = [
    ("reach", TASK, 0.0, SmallWorld({"red_cube": LOW, **BASKET})),
    ("grasp", TASK, 0.0, SmallWorld({"red_cube": LOW, **BASKET}, contacts=HELD)),
    ("carry", TASK, 0.0, SmallWorld({"red_cube": HIGH, **BASKET}, initial={"red_cube": LOW}, contacts=HELD)),
    ("push", PUSH, 0.0, SmallWorld({"red_cube": LOW, **BASKET}, contacts=HELD)),
    ("operate", OPEN, 0.0, replace(CHEST, contacts=touching(("chest_drawer", "gripper")))),
    ("release", TASK, 0.5, SmallWorld({"red_cube": LOW, **BASKET}, contacts=HELD, contained=IN)),
    ("done", TASK, 1.0, SmallWorld({"red_cube": LOW, **BASKET}, contained=IN)),
]


@pytest.mark.parametrize(("phase", "task", "progress", "world"), WORLDS, ids=[phase for phase, *_ in WORLDS])
def test_phase_and_progress(phase: str, task: Task, progress: float, world: SmallWorld) -> None:
    assert phase_of(task, world) == phase
    assert task.progress(world) == progress


def test_every_phase_is_listed_in_order() -> None:
    assert tuple(phase for phase, *_ in WORLDS) == PHASES


def test_a_fixture_that_is_not_touched_is_being_reached() -> None:
    assert phase_of(OPEN, CHEST) == "reach"
    assert phase_of(OPEN, replace(CHEST, joint_positions={"chest_drawer": 1.0})) == "done"


def test_a_forbidden_thing_is_noticed() -> None:
    task = replace(TASK, must_not=(Goal("moved", ("basket",)),))
    still = SmallWorld({"red_cube": LOW, **BASKET})
    pushed = replace(still, initial={"basket": (0.0, 0.2, 0.83)})
    assert not task.violated(still)
    assert task.violated(pushed)
    assert not TASK.violated(pushed)
