"""Layout of placed objects on the surface of a scene."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from vla_bench.core.errors import UnknownNameError
from vla_bench.core.types import FloatArray

_CLEARANCE_M = 0.012  # between things that a relation brings close to each other
_YAW_RANGE_DEG = (-40.0, 40.0)


class Area(Protocol):
    """A rectangle in which things are placed; a scene's region is one."""

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
    """Where an item stands."""

    position: tuple[float, float]  # horizontal, world frame [m]
    yaw_rad: float
    height_m: float = 0.0  # of its lowest point over the surface


@dataclass(frozen=True)
class Spot:
    """A place that a relation proposes: its yaw is drawn once it proves free."""

    position: FloatArray  # (2,) horizontal, world frame [m]
    yaw_range_deg: tuple[float, float] = _YAW_RANGE_DEG
    clearance_m: float = _CLEARANCE_M
    height_m: float = 0.0
    support: str | None = None  # the item below, which is no neighbour


@dataclass(frozen=True)
class Footprint:
    """What placement needs to know of an item."""

    radius_m: float  # horizontal, around its origin
    kind: str = ""  # the asset: things of one kind look the same
    support_height_m: float = 0.0  # over its lowest point, at which things come to rest on it


@dataclass(frozen=True)
class Layout:
    """The items placed so far, on a surface with named regions."""

    regions: Mapping[str, Area]
    footprints: Mapping[str, Footprint]
    places: Mapping[str, Place] = field(default_factory=dict)

    def region(self, name: str) -> Area:
        """Return the region; raise `UnknownNameError` where there is none."""
        if name not in self.regions:
            raise UnknownNameError("region", name, self.regions)
        return self.regions[name]

    def position(self, item: str) -> FloatArray:
        """Return where an item stands, (2,)."""
        return np.asarray(self.places[item].position)

    def radius_m(self, item: str) -> float:
        """Return an item's horizontal radius."""
        return self.footprints[item].radius_m

    def gap_m(self, first: str, second: str) -> float:
        """Return the free distance between two items' circles."""
        distance = np.linalg.norm(self.position(first) - self.position(second))
        return float(distance) - self.radius_m(first) - self.radius_m(second)

    def stands_on_surface(self, item: str) -> bool:
        """Whether nothing is below the item."""
        return self.places[item].height_m == 0.0

    def within_bounds(self, position: FloatArray) -> bool:
        """Whether a position lies in the rectangle that the scene's regions span."""
        centers = np.array([region.centre_m for region in self.regions.values()])
        halves = np.array([region.half_size_m for region in self.regions.values()])
        return bool(
            np.all(position >= (centers - halves).min(axis=0)) and np.all(position <= (centers + halves).max(0))
        )
