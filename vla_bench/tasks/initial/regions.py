"""Somewhere in a named rectangle."""

import numpy as np

from vla_bench.tasks.initial.layout import Layout, Spot
from vla_bench.tasks.initial.registry import Placing, initial_relations


class InRegion(Placing):
    """The centre of `item` is anywhere in the region, which also says how `item` may be turned."""

    parameters = ("item", "region")

    def draw(self, layout: Layout, generator: np.random.Generator, item: str, *others: str) -> Spot:
        """Draw from the whole region."""
        (region,) = others
        area = layout.region(region)
        position = np.asarray(area.centre_m) + generator.uniform(-1, 1, 2) * np.asarray(area.half_size_m)
        return Spot(position, area.yaw_range_deg, area.clearance_m)

    def holds(self, layout: Layout, item: str, *others: str, slack_m: float = 0.0) -> bool:
        """Compare the centre with the rectangle."""
        (region,) = others
        area = layout.region(region)
        offset = np.abs(layout.position(item) - np.asarray(area.centre_m))
        return bool((offset <= np.asarray(area.half_size_m) + slack_m).all())


initial_relations.register(InRegion(), name="in_region")
