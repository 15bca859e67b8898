"""Whether the fingers hold a handle: a part of many skills."""

import numpy as np

from vla_bench.core.types import Joint, World

_STILL_M = 0.0006  # change of the fingers' distance in a step under which they have closed on something
_NEAR_M = 0.03


class HandleGrip:
    """Whether the fingers have closed on a joint's handle, which takes two looks to know."""

    def __init__(self) -> None:
        self._last_opening_m, self._held = np.inf, False

    def holds(self, world: World, joint: Joint) -> bool:
        """Whether the handle is between fingers that have stopped closing, and has not been lost since.

        To be asked once a step.
        """
        opening = world.gripper_opening_m()
        still = abs(opening - self._last_opening_m) < _STILL_M
        self._last_opening_m = opening
        near = np.linalg.norm(world.end_effector_position_world() - joint.handle_position_world) < _NEAR_M
        self._held = bool(near) and (still or self._held) and world.in_contact(joint.name, "gripper")
        return self._held
