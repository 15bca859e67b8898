"""Free places on the surfaces of a scene, found by rays from above."""

from typing import TYPE_CHECKING

import mujoco
import numpy as np

from vla_bench.core.types import FloatArray

if TYPE_CHECKING:
    from vla_bench.envs.simulation import Simulation


_FROM_M = 0.6  # over the highest thing
_LOWEST_M = 0.3  # what lies lower is the floor
_LEVEL_M = 0.002
_RINGS = ((0.0, 1), (0.4, 6), (0.75, 10), (1.0, 14))  # share of the radius, and points on it


class FreeSpace:
    """Finds where something could be put down in a simulation as it stands."""

    def __init__(self, simulation: "Simulation", model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._model, self._data = model, data
        world = simulation.world
        self._from_m = max(float(world.position_world(item)[2]) for item in world.items()) + _FROM_M
        fixtures = {fixture.body for fixture in simulation.fixtures() if not fixture.bin}
        self._standing = {
            body
            for body in range(model.nbody)
            if model.body_weldid[body] == 0 and model.body_mocapid[body] < 0 and body not in fixtures
        }

    def height_m(self, place: FloatArray, radius_m: float) -> float | None:
        """Return how high the ground is within `radius_m` of `place` (2,); None where it is not free and level."""
        level: float | None = None
        for share, count in _RINGS:
            for angle in np.linspace(0.0, 2 * np.pi, count, endpoint=False):
                height = self._seen_m(place + share * radius_m * np.array([np.cos(angle), np.sin(angle)]))
                if height is None or (level is not None and abs(height - level) > _LEVEL_M):
                    return None
                level = height
        return level

    def _seen_m(self, point: FloatArray) -> float | None:
        """Return the height of what is seen from above, None where that is no ground."""
        geom = np.zeros(1, dtype=np.int32)
        start = np.array([*point, self._from_m])
        distance = mujoco.mj_ray(self._model, self._data, start, np.array([0.0, 0.0, -1.0]), None, 1, -1, geom)
        height_m = self._from_m - distance
        seen = distance >= 0.0 and int(self._model.geom_bodyid[geom[0]]) in self._standing
        return height_m if seen and height_m > _LOWEST_M else None
