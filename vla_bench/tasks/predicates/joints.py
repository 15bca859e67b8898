"""Predicates of articulated fixtures: drawers, doors, knobs and buttons.

A fixture with several joints is open if all of them are; a part such as `cabinet_top_drawer` has its own joint only.
"""

from vla_bench.core.types import World
from vla_bench.tasks.predicates import predicates


@predicates.named("open")
def opened(world: World, fixture: str) -> bool:
    """Every drawer or door of `fixture` is open."""
    return _all_past(world, fixture)


@predicates.register
def closed(world: World, fixture: str) -> bool:
    """Every drawer or door of `fixture` is closed."""
    return _none_past(world, fixture)


@predicates.register
def turned_on(world: World, fixture: str) -> bool:
    """Every knob of `fixture` is turned on."""
    return _all_past(world, fixture)


@predicates.register
def turned_off(world: World, fixture: str) -> bool:
    """Every knob of `fixture` is turned off."""
    return _none_past(world, fixture)


@predicates.register
def pressed(world: World, fixture: str) -> bool:
    """Every button of `fixture` is pressed now; a spring may return it once it is released."""
    return _all_past(world, fixture)


def _all_past(world: World, fixture: str) -> bool:
    joints = world.joints(fixture)
    return bool(joints) and all(joint.position >= joint.open_from for joint in joints)


def _none_past(world: World, fixture: str) -> bool:
    joints = world.joints(fixture)
    return bool(joints) and all(joint.position < joint.closed_below for joint in joints)


@predicates.register
def unlatched_open(world: World, door: str) -> bool:
    """`door`, which a latch kept shut, is open: its joint `hinge` is past the opening threshold."""
    return any(joint.name == "hinge" and joint.position >= joint.open_from for joint in world.joints(door))
