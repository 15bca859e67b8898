"""Sampling of initial object placements from a task's initial relations."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from vla_bench.core.errors import VlaBenchError
from vla_bench.tasks.initial_conditions import (
    Area,
    Footprint,
    Layout,
    Place,
    Placing,
    Spot,
    in_order,
    initial_relations,
)
from vla_bench.tasks.task import Relation

_TRIES_PER_ITEM = 200
_RESTARTS = 300
_RIVAL_SLACK_M = 0.05  # an object that looks the same must violate a relation by at least this distance


class PlacementError(VlaBenchError):
    """Objects do not fit where a task places them."""

    def __init__(self, relation: Relation, others: Sequence[str], tries: int) -> None:
        item = relation.arguments[0]
        at = f"in region {relation.arguments[1]!r}" if relation.name == "in_region" else f"for `{relation}`"
        neighbors = f" next to {', '.join(repr(other) for other in others)}" if others else ""
        super().__init__(
            f"No free place was found for {item!r} {at}{neighbors} after {tries} tries. "
            "Make the region larger, its clearance smaller, or put fewer objects into it."
        )


class AmbiguousPlacementError(VlaBenchError):
    """An initial relation does not distinguish objects that look the same."""

    def __init__(self, relation: Relation, rival: str, layouts: int) -> None:
        super().__init__(
            f"`{relation}` does not identify {relation.arguments[0]!r}: {rival!r} looks the same and fulfills it too, "
            f"or nearly, in each of {layouts} layouts tried. Place {rival!r} elsewhere by another relation."
        )


class UnplacedError(VlaBenchError):
    """Objects without an initial relation that places them."""

    def __init__(self, items: Sequence[str]) -> None:
        super().__init__(
            f"The task does not place {', '.join(items)} at the start. "
            f'Add `"in_region({items[0]}, REGION)"` to `initial`.'
        )


def sample_places(
    relations: Sequence[Relation],
    regions: Mapping[str, Area],
    footprints: Mapping[str, Footprint],
    generator: np.random.Generator,
) -> dict[str, Place]:
    """Sample a place for each item of `footprints` without collision, so that every relation holds.

    No relation holds for another object that looks the same, unless the same relation places that object.

    Raises:
        PlacementError: there is no space for an item.
        AmbiguousPlacementError: a relation also holds for another object in every layout tried.
        UnplacedError: no relation places an item.
        UnknownNameError: a region is unknown.
    """
    relations = [relation for relation in relations if not initial_relations[relation.name].arranges_joint]
    unplaced = sorted(set(footprints) - {relation.arguments[0] for relation in relations})
    if unplaced:
        raise UnplacedError(unplaced)
    relations = in_order([relation for relation in relations if isinstance(initial_relations[relation.name], Placing)])
    failures: Counter[tuple[Relation, str]] = Counter()
    for _ in range(_RESTARTS):
        placed, stuck = _place_all(relations, Layout(regions, footprints), generator)
        rival = _find_ambiguity(relations, placed) if stuck is None else (stuck, "")
        if rival is None:
            return dict(placed.places)
        failures[rival] += 1
    (((relation, name), _),) = failures.most_common(1)
    if name:
        raise AmbiguousPlacementError(relation, name, _RESTARTS)
    others = [other.arguments[0] for other in relations[: relations.index(relation)]]
    raise PlacementError(
        relation, _items_in_same_region(relation, others, relations), _TRIES_PER_ITEM * failures[relation, ""]
    )


def _place_all(
    relations: Sequence[Relation], layout: Layout, generator: np.random.Generator
) -> tuple[Layout, Relation | None]:
    """Return the layout with all items, or a partial one and the relation for which there was no space."""
    for relation in relations:
        place = _free_place(relation, layout, generator)
        if place is None:
            return layout, relation
        layout = Layout(layout.regions, layout.footprints, {**layout.places, relation.arguments[0]: place})
    return layout, None


def _free_place(relation: Relation, layout: Layout, generator: np.random.Generator) -> Place | None:
    placing = _placing_relation(relation)
    for _ in range(_TRIES_PER_ITEM):
        spot = placing.draw(layout, generator, *relation.arguments)
        if spot is not None and _is_free(spot, relation.arguments[0], layout):
            yaw = np.radians(generator.uniform(*spot.yaw_range_deg))
            return Place((float(spot.position[0]), float(spot.position[1])), float(yaw), spot.height_m)
    return None


def _is_free(spot: Spot, item: str, layout: Layout) -> bool:
    below = _stack_below(spot, layout)
    return all(
        np.linalg.norm(spot.position - np.asarray(place.position))
        > layout.radius_m(item) + layout.radius_m(other) + spot.clearance_m
        for other, place in layout.places.items()
        if other not in below
    )


def _stack_below(spot: Spot, layout: Layout) -> set[str]:
    """Return the item's support and everything below that at the same place."""
    if spot.support is None:
        return set()
    support = layout.places[spot.support]
    reach_m = layout.radius_m(spot.support)
    lower = {
        name
        for name, place in layout.places.items()
        if place.height_m < support.height_m and np.hypot(*np.subtract(place.position, support.position)) < reach_m
    }
    return {spot.support, *lower}


def _find_ambiguity(relations: Sequence[Relation], layout: Layout) -> tuple[Relation, str] | None:
    """Return a relation that also holds for another object of the same appearance, and that object."""
    placed_by = {relation.arguments[0]: (relation.name, *relation.arguments[1:]) for relation in relations}
    for relation in relations:
        item, *others = relation.arguments
        for rival in layout.places:
            same_appearance = layout.footprints[rival].kind == layout.footprints[item].kind != ""
            if rival == item or not same_appearance or placed_by[rival] == placed_by[item] or rival in others:
                continue
            if _placing_relation(relation).holds(layout, rival, *others, slack_m=_RIVAL_SLACK_M):
                return relation, rival
    return None


def _placing_relation(relation: Relation) -> Placing:
    placing = initial_relations[relation.name]
    assert isinstance(placing, Placing), f"{relation} is not a placing relation"
    return placing


def _items_in_same_region(relation: Relation, others: Sequence[str], relations: Sequence[Relation]) -> list[str]:
    """Return the previously placed items of the same region; for other relations, all of them."""
    if relation.name != "in_region":
        return list(others)
    here = {other.arguments[0] for other in relations if other.arguments[1:] == relation.arguments[1:]}
    return [other for other in others if other in here] or list(others)
