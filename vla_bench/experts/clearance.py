"""How high to travel, and where to put down, so that nothing which stands is touched.

Things are upright cylinders here, as wide as they are at their widest.
"""

import numpy as np

from vla_bench.core.types import FloatArray, World

_HALF_WIDTH_M = 0.05  # of the gripper's fingers and what they carry, beside the way
_SPOT_GAP_M = 0.012  # between things put down in one place
_RINGS = ((0.0, 1), (0.55, 8), (0.85, 12))  # shares of the support's radius at which spots are tried, and how many


def height_over(world: World, start: FloatArray, end: FloatArray, but: frozenset[str]) -> float:
    """Return the height [m] that the fingertips must keep on the straight way between two positions.

    It is that of the tallest thing which they or their load pass over, or that from which the hand above them passes
    over what is beside the way; minus infinity where there is nothing.
    """
    hand, heights = world.gripper(), [-np.inf]
    for item in set(world.items()) - but:
        geometry, place = world.geometry(item), world.position_world(item)
        top_m = float(place[2]) + geometry.top_m
        beside_m = _distance_to_way(place[:2], start[:2], end[:2]) - max(geometry.radius_m, geometry.support_radius_m)
        if beside_m < _HALF_WIDTH_M:
            heights.append(top_m)
        elif beside_m < hand.palm_half_size_m[0]:  # whichever way the fingers open
            heights.append(top_m - hand.palm_m)
    return max(heights)


def free_spot(world: World, item: str, support: str) -> FloatArray:
    """Return where `item` finds room on or in `support`, near its middle: (2,), horizontal, world frame."""
    centre, radius_m = world.position_world(support)[:2], world.geometry(support).support_radius_m
    others = [other for other in world.items() if other not in (item, support) and _lies_on(world, other, support)]
    best, most = centre, -np.inf
    for share, count in _RINGS:
        for angle in np.linspace(0.0, 2 * np.pi, count, endpoint=False):
            spot = centre + share * radius_m * np.array([np.cos(angle), np.sin(angle)])
            room = min((_gap_m(world, item, spot, other) for other in others), default=np.inf)
            if room > _SPOT_GAP_M:
                return np.asarray(spot)
            if room > most:
                best, most = spot, room
    return np.asarray(best)


def _lies_on(world: World, other: str, support: str) -> bool:
    above = world.position_world(other)[2] > world.position_world(support)[2]  # not what the support itself lies on
    return world.inside(other, support) or (bool(above) and world.in_contact(other, support))


def _gap_m(world: World, item: str, spot: FloatArray, other: str) -> float:
    distance = float(np.linalg.norm(spot - world.position_world(other)[:2]))
    return distance - world.geometry(item).radius_m - world.geometry(other).radius_m


def _distance_to_way(point: FloatArray, start: FloatArray, end: FloatArray) -> float:
    way = end - start
    length = float(way @ way)
    share = float(np.clip((point - start) @ way / length, 0.0, 1.0)) if length > 0 else 0.0
    return float(np.linalg.norm(point - start - share * way))
