"""Initial relations sample spots for which they hold, and are sorted so that references come first."""

import numpy as np
import pytest

from vla_bench.envs.descriptions import Region
from vla_bench.tasks import Relation
from vla_bench.tasks.initial_conditions import Footprint, Layout, Place, Placing, in_order, initial_relations
from vla_bench.tasks.initial_conditions.layout import Spot

_SEEDS = range(50)
_REGIONS = {"table": Region(centre_m=(0.0, 0.0), half_size_m=(0.5, 0.5))}
_FOOTPRINTS = {
    "bowl": Footprint(0.055, "bowl"),
    "plate": Footprint(0.085, "plate", support_height_m=0.014),
    "box": Footprint(0.08, "box", support_height_m=0.036),
}
_LAYOUT = Layout(_REGIONS, _FOOTPRINTS, {"plate": Place((0.0, -0.2), 0.0), "box": Place((0.05, 0.2), 0.3)})
_RELATIONS = {
    "in_region": ("table",),
    "next_to": ("plate",),
    "between": ("plate", "box"),
    "on": ("box",),
    "left_of": ("plate",),
    "right_of": ("plate",),
    "in_front_of": ("box",),
    "behind": ("box",),
}


def _placing(name: str) -> Placing:
    placing = initial_relations[name]
    assert isinstance(placing, Placing)
    return placing


def _drawn(name: str, seed: int) -> tuple[Spot, Layout]:
    spot = _placing(name).draw(_LAYOUT, np.random.default_rng(seed), "bowl", *_RELATIONS[name])
    assert spot is not None
    x, y = (float(value) for value in spot.position)
    return spot, Layout(_REGIONS, _FOOTPRINTS, {**_LAYOUT.places, "bowl": Place((x, y), 0.0, spot.height_m)})


def test_every_relation_that_places_is_tried_here() -> None:
    assert set(_RELATIONS) == {name for name, relation in initial_relations.items() if isinstance(relation, Placing)}


@pytest.mark.parametrize("name", _RELATIONS)
def test_a_relation_holds_of_what_it_draws(name: str) -> None:
    for seed in _SEEDS:
        _, layout = _drawn(name, seed)
        assert _placing(name).holds(layout, "bowl", *_RELATIONS[name]), seed
        assert _placing(name).holds(layout, "bowl", *_RELATIONS[name], slack_m=0.05)


@pytest.mark.parametrize("name", [name for name in _RELATIONS if name != "in_region"])
def test_a_relation_fails_far_away(name: str) -> None:
    corner = (0.45, 0.45) if name == "behind" else (-0.45, -0.45)
    far = Layout(_REGIONS, _FOOTPRINTS, {**_LAYOUT.places, "bowl": Place(corner, 0.0)})
    assert not _placing(name).holds(far, "bowl", *_RELATIONS[name], slack_m=0.05)


@pytest.mark.parametrize(
    ("name", "axis", "sign"), [("left_of", 1, -1), ("right_of", 1, 1), ("in_front_of", 0, 1), ("behind", 0, -1)]
)
def test_directions_are_those_of_the_picture(name: str, axis: int, sign: int) -> None:
    reference = np.asarray(_LAYOUT.places[_RELATIONS[name][0]].position)
    for seed in _SEEDS:
        offset = _drawn(name, seed)[0].position - reference
        assert sign * offset[axis] > 0.1
        assert abs(offset[1 - axis]) < 0.5 * abs(offset[axis])


def test_what_stands_on_something_is_at_its_height() -> None:
    spot, _ = _drawn("on", 0)
    assert spot.height_m == 0.036
    assert spot.support == "box"
    beside = Layout(_REGIONS, _FOOTPRINTS, {**_LAYOUT.places, "bowl": Place((0.05, 0.2), 0.0)})
    assert not _placing("on").holds(beside, "bowl", "box")


def test_between_is_refused_where_there_is_no_room() -> None:
    close = Layout(_REGIONS, _FOOTPRINTS, {"plate": Place((0, 0), 0.0), "box": Place((0, 0.2), 0.0)})
    assert _placing("between").draw(close, np.random.default_rng(0), "bowl", "plate", "box") is None


def test_nothing_is_drawn_outside_the_regions() -> None:
    narrow = Layout({"strip": Region(centre_m=(0, 0), half_size_m=(0.02, 0.5))}, _FOOTPRINTS, _LAYOUT.places)
    drawn = [_placing("next_to").draw(narrow, np.random.default_rng(seed), "bowl", "plate") for seed in _SEEDS]
    spots = [spot for spot in drawn if spot is not None]
    assert 0 < len(spots) < len(drawn)
    assert all(abs(spot.position[0]) <= 0.02 for spot in spots)


def test_references_are_placed_first_and_nothing_else_changes_its_turn() -> None:
    texts = ["on(cup, box)", "in_region(plate, table)", "next_to(box, plate)", "in_region(mug, table)"]
    ordered = [str(relation) for relation in in_order([Relation.parse(text) for text in texts])]
    assert ordered == ["in_region(plate, table)", "next_to(box, plate)", "on(cup, box)", "in_region(mug, table)"]


def test_things_placed_by_each_other_are_refused() -> None:
    circle = [Relation.parse("on(cup, box)"), Relation.parse("next_to(box, cup)")]
    with pytest.raises(ValueError, match=r"`on\(cup, box\)` and `next_to\(box, cup\)`: box, cup must be placed first"):
        in_order(circle)
