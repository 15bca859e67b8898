"""Cameras stand elsewhere, are tilted and have another field of view."""

from typing import TYPE_CHECKING

import numpy as np

from vla_bench.core.rotations import axis_angle_to_quat_wxyz, quat_wxyz_multiply
from vla_bench.envs.perturbations.effect import Effect, axes

if TYPE_CHECKING:
    from vla_bench.envs.simulation import Simulation

_ON_THE_ROBOT = 0.15  # share of the shift for a camera that is nearer to the scene: on the hand


@axes.named("camera")
class CameraEffect(Effect):
    """Shift by up to 2, 5 or 10 cm, tilt by up to 2, 4 or 8 degrees, field of view by up to 2, 5 or 10 %."""

    def change(self, simulation: "Simulation", generator: np.random.Generator) -> None:
        """Change every camera; the same draw in every model."""
        shift_m, tilt_rad = self.scaled(0.02, 0.05, 0.10), np.radians(self.scaled(2.0, 4.0, 8.0))
        zoom = self.scaled(0.02, 0.05, 0.10)
        models = simulation.models()
        for camera in range(models[0].ncam):
            direction = generator.uniform(-1.0, 1.0, 3)
            tilt = tilt_rad * generator.uniform(-1.0, 1.0, 3) / np.sqrt(3.0)
            factor = 1.0 + zoom * generator.uniform(-1.0, 1.0)
            nearness = 1.0 if models[0].cam_bodyid[camera] == 0 else _ON_THE_ROBOT
            for model in models:
                model.cam_pos[camera] += nearness * shift_m * direction / np.sqrt(3.0)
                model.cam_quat[camera] = quat_wxyz_multiply(model.cam_quat[camera], axis_angle_to_quat_wxyz(tilt))
                model.cam_fovy[camera] *= factor
