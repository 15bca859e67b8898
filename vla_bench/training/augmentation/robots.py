"""What of a robot is its own mirror image: the facts without which proprioception cannot be mirrored."""

from dataclasses import dataclass

import numpy as np

from vla_bench.core.registry import Registry
from vla_bench.core.types import FloatArray


@dataclass(frozen=True)
class RobotSymmetry:
    """An arm that a mirror plane through its base maps onto itself, joint by joint: q' = sign * q + offset."""

    hand_normal: tuple[float, float, float]  # of the hand's own plane of symmetry, in the end-effector's frame
    joint_signs: tuple[float, ...]
    joint_offsets_rad: tuple[float, ...]
    finger_order: tuple[int, ...]  # the finger that each becomes
    finger_sign: float

    @property
    def hand_mirror(self) -> FloatArray:
        """Reflection of the end-effector's frame, (3, 3)."""
        normal = np.array(self.hand_normal)
        return np.eye(3) - 2.0 * np.outer(normal, normal)


robots: Registry[RobotSymmetry] = Registry("robot with a known plane of symmetry")

# Links lie in one plane at zero; joints 1, 3, 5 and 7 turn in it or out of it. The hand stands straight at q7 = pi / 4.
# The frame is that of robosuite's grip site; fingers move along its x axis, one positive, one negative.
robots.register(
    RobotSymmetry(
        hand_normal=(1.0, 0.0, 0.0),
        joint_signs=(-1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0),
        joint_offsets_rad=(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, np.pi / 2),
        finger_order=(1, 0),
        finger_sign=-1.0,
    ),
    name="panda",
)
