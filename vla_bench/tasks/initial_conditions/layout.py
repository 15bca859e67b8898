"""Layout of placed objects on the surface of a scene."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from vla_bench.core.errors import UnknownNameError
from vla_bench.core.types import FloatArray

_CLEARANCE_M = 0.012  # between objects that a relation places next to each other
_YAW_RANGE_DEG = (-40.0, 40.0)


class Area(Protocol):
    """A rectangle in which objects are placed, such as a region of a scene."""

    @property
    def centre_m(self) -> tuple[float, float]: ...  # noqa: D102  # see `Region`
    @property
    def half_size_m(self) -> tuple[float, float]: ...  # noqa: D102
    @property
    def yaw_range_deg(self) -> tuple[float, float]: ...  # noqa: D102
    @property
    def clearance_m(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class Place:
    """Position of a placed item."""

    position: tuple[float, float]  # horizontal, world frame [m]
    yaw_rad: float
    height_m: float = 0.0  # of its lowest point above the surface


@dataclass(frozen=True)
class Spot:
    """A position proposed by a relation; the yaw is sampled once the position is known to be free."""

    position: FloatArray  # (2,) horizontal, world frame [m]
    yaw_range_deg: tuple[float, float] = _YAW_RANGE_DEG
    clearance_m: float = _CLEARANCE_M
    height_m: float = 0.0
    support: str | None = None  # the supporting item below, which is not a neighbor


@dataclass(frozen=True)
class Footprint:
    """Size of an item for placement."""

    radius_m: float  # horizontal, around its origin
    kind: str = ""  # asset; objects of one asset look the same
    support_height_m: float = 0.0  # above its lowest point, at which objects rest on it


@dataclass(frozen=True)
class Layout:
    """The items placed so far, on a surface with named regions."""

    regions: Mapping[str, Area]
    footprints: Mapping[str, Footprint]
    places: Mapping[str, Place] = field(default_factory=dict)

    def region(self, name: str) -> Area:
        """Return the region; raise `UnknownNameError` if it does not exist."""
        if name not in self.regions:
            raise UnknownNameError("region", name, self.regions)
        return self.regions[name]

    def position(self, item: str) -> FloatArray:
        """Return the horizontal position of an item, (2,)."""
        return np.asarray(self.places[item].position)

    def radius_m(self, item: str) -> float:
        """Return the horizontal radius of an item."""
        return self.footprints[item].radius_m

    def gap_m(self, first: str, second: str) -> float:
        """Return the gap between the circles around two items."""
        distance = np.linalg.norm(self.position(first) - self.position(second))
        return float(distance) - self.radius_m(first) - self.radius_m(second)

    def stands_on_surface(self, item: str) -> bool:
        """Return whether the item rests directly on the surface."""
        return self.places[item].height_m == 0.0

    def within_bounds(self, position: FloatArray) -> bool:
        """Return whether a position is in the bounding rectangle of the regions of the scene."""
        centers = np.array([region.centre_m for region in self.regions.values()])
        halves = np.array([region.half_size_m for region in self.regions.values()])
        return bool(
            np.all(position >= (centers - halves).min(axis=0)) and np.all(position <= (centers + halves).max(0))
        )
