"""Goal predicates are facts about positions, contacts and containment."""

import numpy as np
import pytest

from tests.tasks.small_world import Place, SmallWorld, touching
from vla_bench.core.types import FloatArray, World
from vla_bench.tasks import Goal, predicates
from vla_bench.tasks.predicates import parameters

PLATE = (0.3, 0.0, 0.8)


@pytest.mark.parametrize(
    ("place", "touches", "holds"),
    [
        ((0.3, 0.0, 0.84), True, True),
        ((0.39, 0.0, 0.84), True, True),  # 9 of 10 cm from the center
        ((0.41, 0.0, 0.84), True, False),  # beyond the support's radius
        ((0.37, 0.08, 0.84), True, False),  # 10.6 cm, though each axis is within
        ((0.3, 0.0, 0.84), False, False),  # hovers above
        ((0.3, 0.0, 0.76), True, False),  # touches from below
    ],
)
def test_on(place: Place, touches: bool, holds: bool) -> None:
    contacts = touching(("cube", "plate")) if touches else set()
    assert Goal("on", ("cube", "plate")).holds(SmallWorld({"cube": place, "plate": PLATE}, contacts=contacts)) == holds


def test_in_is_the_containers_verdict_alone() -> None:
    world = SmallWorld({"cube": (0, 0, 0.8), "basket": (0, 0, 0.8)}, contained={("cube", "basket")})
    assert Goal("in", ("cube", "basket")).holds(world)
    assert not Goal("in", ("basket", "cube")).holds(world)


@pytest.mark.parametrize(
    ("predicate", "by", "holds"),
    [
        ("lifted", (0.0, 0.0, 0.06), True),
        ("lifted", (0.2, 0.2, 0.04), False),
        ("moved", (0.04, 0.04, 0.0), True),  # 5.7 cm along the diagonal
        ("moved", (0.04, 0.0, 0.3), False),  # height does not count
    ],
)
def test_where_it_began_counts(predicate: str, by: Place, holds: bool) -> None:
    began = (0.1, -0.2, 0.8)
    now = (began[0] + by[0], began[1] + by[1], began[2] + by[2])
    assert Goal(predicate, ("cube",)).holds(SmallWorld({"cube": now}, initial={"cube": began})) == holds


@pytest.mark.parametrize(
    ("raised_m", "touches", "grasped", "released"),
    [(0.05, True, True, False), (0.0, True, False, False), (0.05, False, False, True)],
)
def test_grasped_and_released(raised_m: float, touches: bool, grasped: bool, released: bool) -> None:
    contacts = touching(("cube", "gripper")) if touches else set()
    world = SmallWorld({"cube": (0, 0, 0.8 + raised_m)}, initial={"cube": (0, 0, 0.8)}, contacts=contacts)
    assert Goal("grasped", ("cube",)).holds(world) == grasped
    assert Goal("released", ("cube",)).holds(world) == released


@pytest.mark.parametrize(
    ("place", "holds"),
    [
        ((0.3, 0.09, 0.8), True),
        ((0.3, 0.11, 0.8), False),  # beyond the place's radius
        ((0.23, 0.08, 0.8), False),  # 10.6 cm, though each axis is within
        ((0.3, 0.0, 0.83), False),  # held over it
    ],
)
def test_at(place: Place, holds: bool) -> None:
    assert Goal("at", ("cube", "plate")).holds(SmallWorld({"cube": place, "plate": PLATE})) == holds


@pytest.mark.parametrize(
    ("position", "past", "before"),
    [(0.0, False, True), (0.05, False, True), (0.1, False, False), (0.99, False, False), (1.0, True, False)],
)
@pytest.mark.parametrize(("forth", "back"), [("open", "closed"), ("turned_on", "turned_off")])
def test_between_open_and_closed_a_joint_is_neither(
    forth: str, back: str, position: float, past: bool, before: bool
) -> None:
    world = SmallWorld({"chest": PLATE}, joint_positions={"chest": position})
    assert Goal(forth, ("chest",)).holds(world) == past
    assert Goal(back, ("chest",)).holds(world) == before
    assert Goal("pressed", ("chest",)).holds(world) == past


@pytest.mark.parametrize(
    ("positions", "is_open", "is_closed"), [((1, 1), True, False), ((1, 0), False, False), ((0, 0), False, True)]
)
def test_a_fixture_is_open_when_all_its_joints_are(
    positions: tuple[float, float], is_open: bool, is_closed: bool
) -> None:
    joints = dict(zip(("chest_left", "chest_right"), positions, strict=True))
    world = SmallWorld({"chest": PLATE}, joint_positions=joints)
    assert Goal("open", ("chest",)).holds(world) == is_open
    assert Goal("closed", ("chest",)).holds(world) == is_closed


@pytest.mark.parametrize("name", ["open", "closed", "turned_on", "turned_off", "pressed"])
def test_what_has_no_joint_is_neither_open_nor_closed(name: str) -> None:
    assert not Goal(name, ("cube",)).holds(SmallWorld({"cube": PLATE}))


class WorldOfEverything(SmallWorld):
    """One in which things can be wiped away too."""

    def dirt_world(self, item: str) -> FloatArray:
        return np.zeros((0, 3))


@pytest.mark.parametrize("name", sorted(predicates))
def test_a_predicate_answers_for_as_many_objects_as_it_names(name: str) -> None:
    items = [f"item_{number}" for number in range(len(parameters(name)))]
    world: World = WorldOfEverything(dict.fromkeys(items, (0.0, 0.0, 0.8)))
    assert Goal(name, tuple(items)).holds(world) in (True, False)
    with pytest.raises(TypeError):
        Goal(name, (*items, "one_more")).holds(world)


def test_parameters_name_what_a_predicate_speaks_of() -> None:
    assert parameters("on") == ("item", "support")
    assert parameters("lifted") == ("item",)
