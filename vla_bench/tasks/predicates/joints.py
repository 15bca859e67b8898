"""Predicates of articulated fixtures: drawers, doors, knobs and buttons."""

from vla_bench.core.types import World
from vla_bench.tasks.predicates import predicates

# ~ How far the joints of fixtures are moved: drawers and doors, knobs, buttons.
# ~
# ~ A fixture with several joints is open when all are; a part such as `cabinet_top_drawer` has its own alone.


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
    """Every button of `fixture` is pressed now; a spring may bring it back as soon as it is let go."""
    return _all_past(world, fixture)


def _all_past(world: World, fixture: str) -> bool:
    joints = world.joints(fixture)
    return bool(joints) and all(joint.position >= joint.open_from for joint in joints)


def _none_past(world: World, fixture: str) -> bool:
    joints = world.joints(fixture)
    return bool(joints) and all(joint.position < joint.closed_below for joint in joints)


# ~ Doors that a latch holds shut.


@predicates.register
def unlatched_open(world: World, door: str) -> bool:
    """`door`, which a latch held shut, stands open: its joint `hinge` is past where it counts as open."""
    return any(joint.name == "hinge" and joint.position >= joint.open_from for joint in world.joints(door))
