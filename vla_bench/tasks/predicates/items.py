"""Predicates of items: position, contact, grasp, lifting, pegs and dirt."""

import numpy as np

from vla_bench.core.errors import ConventionError
from vla_bench.core.geometry import quat_wxyz_to_matrix
from vla_bench.core.types import DirtyWorld, World
from vla_bench.tasks.predicates import predicates

_LIFT_HEIGHT_M = 0.05  # above the start position of the item; robosuite's Lift uses 0.04 above the table
_MOVED_DISTANCE_M = 0.05
_AT_HEIGHT_M = 0.02  # between the lowest point of an item and the resting height of a place


@predicates.register
def on(world: World, item: str, support: str) -> bool:
    """`item` rests on `support`: in contact, above it, and with its center within the support's radius.

    After LIBERO's `On`, whose radius is 3 cm for every object; here each support states its own.
    """
    offset = world.position_world(item) - world.position_world(support)  # (3,) [m]
    centred = np.linalg.norm(offset[:2]) < world.geometry(support).support_radius_m
    return bool(centred and offset[2] > 0 and world.in_contact(item, support))


@predicates.named("in")
def within(world: World, item: str, container: str) -> bool:
    """The center of `item` is in the inner volume of `container`."""
    return world.inside(item, container)


@predicates.register
def lifted(world: World, item: str) -> bool:
    """`item` is at least 5 cm above its start position."""
    height = world.position_world(item)[2] - world.initial_position_world(item)[2]
    return bool(height > _LIFT_HEIGHT_M)


@predicates.register
def grasped(world: World, item: str) -> bool:
    """The gripper touches `item` and the item is off its support."""
    return world.in_contact(item, "gripper") and bool(
        world.position_world(item)[2] > world.initial_position_world(item)[2] + 0.01
    )


@predicates.register
def released(world: World, item: str) -> bool:
    """The gripper does not touch `item`."""
    return not world.in_contact(item, "gripper")


@predicates.register
def moved(world: World, item: str) -> bool:
    """`item` is more than 5 cm away from its start position, horizontally."""
    offset = world.position_world(item) - world.initial_position_world(item)
    return bool(np.linalg.norm(offset[:2]) > _MOVED_DISTANCE_M)


@predicates.register
def at(world: World, item: str, place: str) -> bool:
    """The center of `item` is within the radius of `place` horizontally, and `item` rests at its height.

    A place is a part of a fixture that is an area, such as the front of a stove, or any item.
    """
    offset = world.position_world(item) - world.position_world(place)
    height_m = offset[2] + world.geometry(item).bottom_m - world.geometry(place).bottom_m
    centred = np.linalg.norm(offset[:2]) < world.geometry(place).support_radius_m
    return bool(centred and abs(height_m) < _AT_HEIGHT_M)


_DOWN_M = 0.08  # below the top of the peg; equal to robosuite's `on_peg`, whose pegs are 13 cm high
_ASIDE_M = 0.03  # robosuite's `on_peg`


@predicates.register
def around(world: World, item: str, peg: str) -> bool:
    """`item` is around `peg`, whose origin is its top."""
    offset = world.position_world(item) - world.position_world(peg)
    return bool((np.abs(offset[:2]) < _ASIDE_M).all() and offset[2] < -_DOWN_M)


@predicates.register
def wiped(world: World, dirt: str) -> bool:
    """No `dirt` is left. Raise `ConventionError` for a world without dirt."""
    if not isinstance(world, DirtyWorld):
        raise ConventionError("Goal `wiped` needs a scene with dirt, such as robosuite's Wipe.")
    return len(world.dirt_world(dirt)) == 0


_TWO_ARMS_LIFT_HEIGHT_M = 0.10  # robosuite's TwoArmLift
_LEVEL_COSINE = 0.866  # within 30 degrees, as in the reward of robosuite's TwoArmLift


@predicates.register
def lifted_level(world: World, item: str) -> bool:
    """`item` is at least 10 cm above its start position and tilted by at most 30 degrees."""
    height = world.position_world(item)[2] - world.initial_position_world(item)[2]
    upright = quat_wxyz_to_matrix(world.quat_wxyz_world(item))[2, 2]
    return bool(height > _TWO_ARMS_LIFT_HEIGHT_M and upright > _LEVEL_COSINE)
