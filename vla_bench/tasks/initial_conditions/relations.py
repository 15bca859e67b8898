"""Initial relations: regions, spatial relations between objects, and joints."""

import numpy as np

from vla_bench.core.types import FloatArray
from vla_bench.tasks.initial_conditions import InitialRelation, Placing, initial_relations
from vla_bench.tasks.initial_conditions.layout import Layout, Spot


class InRegion(Placing):
    """The center of `item` is anywhere in the region, which also limits the yaw of `item`."""

    parameters = ("item", "region")

    def draw(self, layout: Layout, generator: np.random.Generator, item: str, *others: str) -> Spot:
        """Sample a position in the region."""
        (region,) = others
        area = layout.region(region)
        position = np.asarray(area.centre_m) + generator.uniform(-1, 1, 2) * np.asarray(area.half_size_m)
        return Spot(position, area.yaw_range_deg, area.clearance_m)

    def holds(self, layout: Layout, item: str, *others: str, slack_m: float = 0.0) -> bool:
        """Return whether the center is in the rectangle."""
        (region,) = others
        area = layout.region(region)
        offset = np.abs(layout.position(item) - np.asarray(area.centre_m))
        return bool((offset <= np.asarray(area.half_size_m) + slack_m).all())


initial_relations.register(InRegion(), name="in_region")


class Guest(InitialRelation):
    """An object added by a perturbation wherever there is room, after all others and without moving them."""

    parameters = ("item",)


initial_relations.register(Guest(), name="guest")


class Opened(InitialRelation):
    """A drawer or a door is open at reset; without this relation it is closed."""

    parameters = ("part",)
    arranges_joint = True


initial_relations.register(Opened(), name="opened")


class TurnedOn(InitialRelation):
    """A knob is turned on at reset."""

    parameters = ("part",)
    arranges_joint = True


initial_relations.register(TurnedOn(), name="turned_on")


_NEXT_TO_GAP_M = (0.015, 0.04)  # sampled gap between the two circles
_DIRECTION_GAP_M = (0.02, 0.09)
_DIRECTION_CONE_RAD = np.radians(25)  # sampled range around the direction; a person would accept 1.5 times as much
_CONE_SLACK = 2.4
_BETWEEN_SHARE = (0.35, 0.65)  # fraction of the distance from one object to the other
_BETWEEN_ASIDE_M = 0.025  # distance from the straight line
_BETWEEN_SLACK_SHARE = 0.25
_LEVEL_M = 0.005
_ON_SHARE = 0.25  # fraction of the support's radius, from its center


class NextTo(Placing):
    """`item` is next to `reference`, in any direction, with a gap of a few centimeters."""

    parameters = ("item", "reference")

    def draw(self, layout: Layout, generator: np.random.Generator, item: str, *others: str) -> Spot | None:
        """Sample direction and gap."""
        (reference,) = others
        angle = generator.uniform(-np.pi, np.pi)
        distance = layout.radius_m(item) + layout.radius_m(reference) + generator.uniform(*_NEXT_TO_GAP_M)
        return _within(layout, layout.position(reference) + distance * _unit(angle))

    def holds(self, layout: Layout, item: str, *others: str, slack_m: float = 0.0) -> bool:
        """Return whether the gap is small and both are at one height."""
        (reference,) = others
        gap_m = layout.gap_m(item, reference)
        return layout.stands_on_surface(item) and 0.0 < gap_m <= _NEXT_TO_GAP_M[1] + 1e-9 + slack_m


class Between(Placing):
    """`item` is near the middle of the line from `first` to `second`."""

    parameters = ("item", "first", "second")

    def draw(self, layout: Layout, generator: np.random.Generator, item: str, *others: str) -> Spot | None:
        """Sample a fraction of the line and an offset from it."""
        first, second = others
        start, line = layout.position(first), layout.position(second) - layout.position(first)
        free_m = layout.gap_m(first, second) - 2 * layout.radius_m(item)
        if free_m < 2 * _NEXT_TO_GAP_M[0]:
            return None
        aside = np.array([-line[1], line[0]]) / np.linalg.norm(line)
        share, aside_m = generator.uniform(*_BETWEEN_SHARE), generator.uniform(-_BETWEEN_ASIDE_M, _BETWEEN_ASIDE_M)
        return _within(layout, start + share * line + aside_m * aside)

    def holds(self, layout: Layout, item: str, *others: str, slack_m: float = 0.0) -> bool:
        """Return whether fraction and offset are in range."""
        first, second = others
        start, line = layout.position(first), layout.position(second) - layout.position(first)
        offset, length = layout.position(item) - start, float(np.linalg.norm(line))
        share = float(offset @ line) / length**2
        aside_m = abs(float(line[0] * offset[1] - line[1] * offset[0])) / length
        low, high = _BETWEEN_SHARE
        wider = _BETWEEN_SLACK_SHARE if slack_m > 0 else 1e-9
        on_level = layout.stands_on_surface(item)
        return on_level and low - wider <= share <= high + wider and aside_m <= _BETWEEN_ASIDE_M + 1e-9 + slack_m


class On(Placing):
    """`item` is on `support`, near its center."""

    parameters = ("item", "support")

    def draw(self, layout: Layout, generator: np.random.Generator, item: str, *others: str) -> Spot:
        """Sample a position on the support."""
        (support,) = others
        aside_m = generator.uniform(0, _ON_SHARE) * layout.radius_m(support)
        position = layout.position(support) + aside_m * _unit(generator.uniform(-np.pi, np.pi))
        height_m = layout.places[support].height_m + layout.footprints[support].support_height_m
        return Spot(position, height_m=height_m, support=support)

    def holds(self, layout: Layout, item: str, *others: str, slack_m: float = 0.0) -> bool:
        """Return whether position and height match."""
        (support,) = others
        distance = float(np.linalg.norm(layout.position(item) - layout.position(support)))
        height_m = layout.places[support].height_m + layout.footprints[support].support_height_m
        near = distance <= _ON_SHARE * layout.radius_m(support) + 1e-9 + slack_m
        return near and abs(layout.places[item].height_m - height_m) < _LEVEL_M


class InDirection(Placing):
    """`item` is on one side of `reference`, as seen in the `agentview` image."""

    parameters = ("item", "reference")

    def __init__(self, direction: tuple[float, float]) -> None:
        self._direction = np.array(direction)

    def draw(self, layout: Layout, generator: np.random.Generator, item: str, *others: str) -> Spot | None:
        """Sample a direction in the cone and a gap."""
        (reference,) = others
        straight = float(np.arctan2(self._direction[1], self._direction[0]))
        angle = straight + generator.uniform(-_DIRECTION_CONE_RAD, _DIRECTION_CONE_RAD)
        distance = layout.radius_m(item) + layout.radius_m(reference) + generator.uniform(*_DIRECTION_GAP_M)
        return _within(layout, layout.position(reference) + distance * _unit(angle))

    def holds(self, layout: Layout, item: str, *others: str, slack_m: float = 0.0) -> bool:
        """Return whether direction and gap match; with slack, any distance is accepted."""
        (reference,) = others
        offset = layout.position(item) - layout.position(reference)
        cosine = float(offset @ self._direction) / max(float(np.linalg.norm(offset)), 1e-9)
        cone = _DIRECTION_CONE_RAD * (_CONE_SLACK if slack_m > 0 else 1.0) + 1e-6
        near = slack_m > 0 or layout.gap_m(item, reference) <= _DIRECTION_GAP_M[1] + 1e-9
        return near and cosine >= np.cos(cone)


initial_relations.register(NextTo(), name="next_to")
initial_relations.register(Between(), name="between")
initial_relations.register(On(), name="on")
initial_relations.register(InDirection((0.0, -1.0)), name="left_of")
initial_relations.register(InDirection((0.0, 1.0)), name="right_of")
initial_relations.register(InDirection((1.0, 0.0)), name="in_front_of")
initial_relations.register(InDirection((-1.0, 0.0)), name="behind")


def _unit(angle_rad: float) -> FloatArray:
    return np.array([np.cos(angle_rad), np.sin(angle_rad)])


def _within(layout: Layout, position: FloatArray) -> Spot | None:
    return Spot(position) if layout.within_bounds(position) else None
