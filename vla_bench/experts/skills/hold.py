"""A grip that, once firm, lasts for as long as the fingers are where the item is."""

import numpy as np

from vla_bench.core.types import World
from vla_bench.experts.skills.pick import Grip

_HELD_M = 0.03  # between the fingers and the item's origin, while the fingers slip along it


class Hold:
    """Whether the fingers have a handle: they may be pushed apart or slip along it, and still have it."""

    def __init__(self, item: str) -> None:
        self._item, self._grip, self._held = item, Grip(), False

    def holds(self, world: World) -> bool:
        """Whether the item is held; to be asked once a step."""
        firm = self._grip.holds(world, self._item)
        distance = np.linalg.norm(world.end_effector_position_world() - world.position_world(self._item))
        still_there = world.in_contact(self._item, "gripper") and distance < _HELD_M
        self._held = firm or bool(self._held and still_there)
        return self._held
