"""Initial states: where things stand when an episode begins, drawn from a task's initial relations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vla_bench.core.errors import UnknownNameError, VlaBenchError
from vla_bench.core.types import FloatArray
from vla_bench.envs.descriptions import Region
from vla_bench.tasks.task import Relation

_TRIES_PER_ITEM = 200
_RESTARTS = 50


class PlacementError(VlaBenchError):
    """Things that do not fit into the regions that a task names."""

    def __init__(self, item: str, region: str, tries: int) -> None:
        super().__init__(
            f"{item!r} finds no free place in region {region!r} after {tries} tries. "
            "Make the region larger, its clearance smaller, or put fewer objects into it."
        )


class UnplacedError(VlaBenchError):
    """Things that no initial relation puts anywhere."""

    def __init__(self, items: Sequence[str]) -> None:
        super().__init__(
            f"The task does not say where {', '.join(items)} stands at the start. "
            f'Add `"in_region({items[0]}, REGION)"` to `initial`.'
        )


@dataclass(frozen=True)
class Place:
    """Where an item stands."""

    position: tuple[float, float]  # horizontal, world frame [m]
    yaw_rad: float


def sample_places(
    relations: Sequence[Relation],
    regions: Mapping[str, Region],
    radii_m: Mapping[str, float],
    generator: np.random.Generator,
) -> dict[str, Place]:
    """Draw a place for each item of `radii_m` without collision.

    Raises:
        PlacementError: there is no room.
        UnplacedError: no relation speaks of an item.
        UnknownNameError: there is no such region.
    """
    unplaced = sorted(set(radii_m) - {relation.arguments[0] for relation in relations})
    if unplaced:
        raise UnplacedError(unplaced)
    for restart in range(_RESTARTS):
        placed: dict[str, Place] = {}
        for relation in relations:
            item, region = relation.arguments
            place = _free_place(item, _region(regions, region), placed, radii_m, generator)
            if place is None:
                break
            placed[item] = place
        else:
            return placed
        if restart == _RESTARTS - 1:
            raise PlacementError(item, region, _TRIES_PER_ITEM * _RESTARTS)
    raise AssertionError("unreachable")


def _region(regions: Mapping[str, Region], name: str) -> Region:
    if name not in regions:
        raise UnknownNameError("region", name, regions)
    return regions[name]


def _free_place(
    item: str, region: Region, placed: Mapping[str, Place], radii_m: Mapping[str, float], generator: np.random.Generator
) -> Place | None:
    for _ in range(_TRIES_PER_ITEM):
        position = np.asarray(region.centre_m) + generator.uniform(-1, 1, 2) * np.asarray(region.half_size_m)
        if all(_apart(position, item, other, place, radii_m, region) for other, place in placed.items()):
            yaw = np.radians(generator.uniform(*region.yaw_range_deg))
            return Place((float(position[0]), float(position[1])), float(yaw))
    return None


def _apart(
    position: FloatArray, item: str, other: str, place: Place, radii_m: Mapping[str, float], region: Region
) -> bool:
    distance = np.linalg.norm(position - np.asarray(place.position))
    return bool(distance > radii_m[item] + radii_m[other] + region.clearance_m)
