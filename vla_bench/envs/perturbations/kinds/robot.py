"""The arm begins in another posture."""

from typing import TYPE_CHECKING

import numpy as np

from vla_bench.envs.perturbations.effect import Effect, axes

if TYPE_CHECKING:
    import mujoco

    from vla_bench.envs.simulation import Simulation


@axes.named("robot")
class RobotEffect(Effect):
    """Every joint of the arm is off by up to 0.04, 0.08 or 0.14 rad on top of the usual noise."""

    def disturb(
        self, simulation: "Simulation", model: "mujoco.MjModel", data: "mujoco.MjData", generator: np.random.Generator
    ) -> None:
        """Move the arm's joints."""
        joints = simulation.arm_qpos_addresses()
        data.qpos[joints] += self.scaled(0.04, 0.08, 0.14) * generator.uniform(-1.0, 1.0, len(joints))
