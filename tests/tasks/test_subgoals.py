"""Sub-goals: when they were reached, in which order, and what progress they make."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vla_bench.core.errors import ConfigurationError
from vla_bench.core.types import FloatArray
from vla_bench.tasks import Goal, Task, get_task, load_suite
from vla_bench.tasks.progress import SubgoalRecord

_FIRST, _SECOND = Goal("lifted", ("cube",)), Goal("lifted", ("can",))


class Heights:
    """A world of which only the heights of things matter: `lifted` holds above 5 cm."""

    def __init__(self) -> None:
        self.height_m = {"cube": 0.0, "can": 0.0}
        self.held: set[str] = set()

    def position_world(self, item: str) -> FloatArray:
        return np.array([0.0, 0.0, self.height_m[item]])

    def initial_position_world(self, item: str) -> FloatArray:
        return np.zeros(3)

    def in_contact(self, first: str, second: str) -> bool:
        return first in self.held


def _task(*goals: Goal, ordered: bool = True) -> Task:
    return replace(get_task("tabletop_pick.pick_red_cube"), goal=goals, ordered=ordered)


def _after(record: SubgoalRecord, *lifted: str, steps: int = 1, first: int = 1) -> SubgoalRecord:
    """Watch `steps` steps, from number `first`, with these things lifted."""
    world = Heights()
    world.height_m = {item: 0.1 if item in lifted else 0.0 for item in world.height_m}
    for step in range(first, first + steps):
        record.update(world, step)  # type: ignore[arg-type]
    return record


def test_sub_goals_are_told_with_their_steps_in_the_order_of_reaching() -> None:
    record = SubgoalRecord(_task(_FIRST, _SECOND, ordered=False))
    _after(record, steps=3, first=0)
    assert record.reached() == []
    _after(record, "can", steps=2, first=3)
    _after(record, "can", "cube", first=5)
    assert record.reached() == [("lifted(can)", 3), ("lifted(cube)", 5)]
    assert record.in_order()


def test_the_order_counts_where_the_task_says_so() -> None:
    right = SubgoalRecord(_task(_FIRST, _SECOND))
    _after(_after(right, "cube"), "cube", "can", first=2)
    assert right.in_order()
    wrong = SubgoalRecord(_task(_FIRST, _SECOND))
    assert not _after(wrong, "can").in_order()
    assert not _after(wrong, "cube", "can", first=2).in_order()


def test_two_things_at_once_are_in_order() -> None:
    assert _after(SubgoalRecord(_task(_FIRST, _SECOND)), "cube", "can").in_order()


def test_what_is_undone_and_done_again_counts_anew() -> None:
    record = SubgoalRecord(_task(_FIRST, _SECOND))
    _after(record, "can", "cube", first=1)
    _after(_after(record, "can", first=1), "cube", steps=20, first=2)  # the can is put down again
    assert record.reached() == [("lifted(cube)", 1)]
    assert record.in_order()
    _after(record, "cube", "can", first=30)
    assert record.reached() == [("lifted(cube)", 1), ("lifted(can)", 30)]
    assert record.in_order()


def test_a_short_lapse_is_not_a_loss() -> None:
    record = SubgoalRecord(_task(_FIRST, _SECOND))
    _after(_after(record, "cube"), steps=5, first=2)
    _after(record, "cube", "can", first=7)
    assert record.reached() == [("lifted(cube)", 1), ("lifted(can)", 7)]


@pytest.mark.parametrize(
    ("lifted", "held", "progress"),
    [((), (), 0.0), (("cube",), ("cube",), 0.25), (("cube",), (), 0.5), (("cube", "can"), ("can",), 0.75)],
)
def test_progress_is_the_share_of_sub_goals(lifted: tuple[str, ...], held: tuple[str, ...], progress: float) -> None:
    world = Heights()
    world.height_m = {item: 0.1 if item in lifted else 0.0 for item in world.height_m}
    world.held = set(held)
    task = _task(_FIRST, _SECOND, Goal("released", ("cube",)), Goal("released", ("can",)))
    assert task.progress(world) == progress  # type: ignore[arg-type]


def test_an_order_of_one_thing_is_refused(tmp_path: Path) -> None:
    text = """
suite = "mine"
horizon = 100
objects = { cube = "red_cube", plate = "plate" }
initial = ["in_region(cube, middle)", "in_region(plate, right)"]

[[task]]
name = "cube_on_plate"
instruction = "put the cube on the plate"
goal = ["on(cube, plate)", "released(cube)"]
ordered = true
"""
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    message = (
        r"field `cube_on_plate\.ordered`: true, but on\(cube, plate\) is the only goal\. Expected two or more goals"
    )
    with pytest.raises(ConfigurationError, match=message):
        load_suite(path)
