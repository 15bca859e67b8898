"""Doors that a latch holds shut."""

from vla_bench.core.types import World
from vla_bench.tasks.predicates.registry import predicates


@predicates.register
def unlatched_open(world: World, door: str) -> bool:
    """`door`, which a latch held shut, stands open: its joint `hinge` is past where it counts as open."""
    return any(joint.name == "hinge" and joint.position >= joint.open_from for joint in world.joints(door))
