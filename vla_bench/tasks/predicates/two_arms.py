"""What two arms do together."""

from vla_bench.core.rotations import quat_wxyz_to_matrix
from vla_bench.core.types import World
from vla_bench.tasks.predicates.registry import predicates

_LIFT_HEIGHT_M = 0.10  # robosuite's TwoArmLift
_LEVEL_COSINE = 0.866  # within 30 degrees, as robosuite's TwoArmLift rewards it


@predicates.register
def lifted_level(world: World, item: str) -> bool:
    """`item` is at least 10 cm above where it began, and no more than 30 degrees out of level."""
    height = world.position_world(item)[2] - world.initial_position_world(item)[2]
    upright = quat_wxyz_to_matrix(world.quat_wxyz_world(item))[2, 2]
    return bool(height > _LIFT_HEIGHT_M and upright > _LEVEL_COSINE)
