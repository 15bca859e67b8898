"""What hangs or lies around a peg."""

import numpy as np

from vla_bench.core.types import World
from vla_bench.tasks.predicates.registry import predicates

_DOWN_M = 0.08  # below the peg's top; robosuite's `on_peg`, whose pegs stand 13 cm out of the table, says the same
_ASIDE_M = 0.03  # robosuite's `on_peg`


@predicates.register
def around(world: World, item: str, peg: str) -> bool:
    """`item` lies around `peg`, whose origin is its top."""
    offset = world.position_world(item) - world.position_world(peg)
    return bool((np.abs(offset[:2]) < _ASIDE_M).all() and offset[2] < -_DOWN_M)
