"""What is free to move stands elsewhere: all together, so that they stay as they are to one another."""

from typing import TYPE_CHECKING

import numpy as np

from vla_bench.core.rotations import quat_wxyz_multiply
from vla_bench.envs.perturbations.effect import Effect, PerturbationError, axes

if TYPE_CHECKING:
    import mujoco

    from vla_bench.envs.simulation import Simulation

_FREE = 0  # mjtJoint.mjJNT_FREE


@axes.named("layout")
class LayoutEffect(Effect):
    """All free objects are shifted by up to 1.5, 3 or 5 cm and turned about their middle by up to 4, 8 or 15 deg."""

    def check(self, simulation: "Simulation") -> None:
        """Raise `PerturbationError` where nothing is free to move."""
        if not (simulation.models()[0].jnt_type == _FREE).any():
            raise PerturbationError("Axis 'layout' needs objects that are free to move: there are none in this scene.")

    def disturb(
        self, simulation: "Simulation", model: "mujoco.MjModel", data: "mujoco.MjData", generator: np.random.Generator
    ) -> None:
        """Move the free bodies as one."""
        shift_m = self.scaled(0.015, 0.03, 0.05) * generator.uniform(-1.0, 1.0, 2)
        angle = np.radians(self.scaled(4.0, 8.0, 15.0)) * generator.uniform(-1.0, 1.0)
        addresses = [int(model.jnt_qposadr[joint]) for joint in np.flatnonzero(model.jnt_type == _FREE)]
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        half = np.array([np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2)])
        middle = np.mean([data.qpos[address : address + 2] for address in addresses], axis=0)
        for address in addresses:
            data.qpos[address : address + 2] = middle + turn @ (data.qpos[address : address + 2] - middle) + shift_m
            data.qpos[address + 3 : address + 7] = quat_wxyz_multiply(half, data.qpos[address + 3 : address + 7])
