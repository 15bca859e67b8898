"""What is wiped away."""

from vla_bench.core.errors import ConventionError
from vla_bench.core.types import DirtyWorld, World
from vla_bench.tasks.predicates.registry import predicates


@predicates.register
def wiped(world: World, dirt: str) -> bool:
    """No `dirt` is left. Raise `ConventionError` for a world in which nothing can be wiped away."""
    if not isinstance(world, DirtyWorld):
        raise ConventionError("Goal `wiped` needs a scene with dirt, such as robosuite's Wipe.")
    return len(world.dirt_world(dirt)) == 0
