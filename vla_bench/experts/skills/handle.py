"""Which joint to move, and whether the fingers hold its handle: a part of many skills."""

import numpy as np

from vla_bench.core.types import Joint, World

_STILL_M = 0.0006  # change of the fingers' distance in a step under which they have closed on something
_NEAR_M = 0.03
_ABOUT_M = 0.055  # less than from one handle to the next


def joint_to_move(world: World, fixture: str, direction: float) -> Joint:
    """Return the joint of `fixture` to move next, `direction` 1 open or on, -1 closed or off.

    It is the first that is not there yet, lower handles first to open and higher ones first to close, so that open
    drawers never lie over a handle that is still to be taken.
    """
    joints = sorted(world.joints(fixture), key=lambda joint: direction * float(joint.handle_position_world[2]))
    return next((joint for joint in joints if not _is_there(joint, direction)), joints[-1])


def handle_to_leave(world: World, but: Joint) -> Joint | None:
    """Return another drawer whose handle the fingers are still about: on the way elsewhere they would move it."""
    tip = world.end_effector_position_world()
    for item in world.items():
        for joint in world.joints(item):
            about = np.linalg.norm(tip - joint.handle_position_world) < _ABOUT_M
            if about and not joint.turns and joint.name != but.name:
                return joint
    return None


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


def _is_there(joint: Joint, direction: float) -> bool:
    return joint.position >= joint.open_from if direction > 0 else joint.position < joint.closed_below
