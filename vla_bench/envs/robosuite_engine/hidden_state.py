"""What robosuite changes in the compiled model, so that MuJoCo's own state does not hold it."""

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray


class HiddenState:
    """Poses of the fixtures that a reset moves, and which of Wipe's markers are wiped away."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._model: mujoco.MjModel = env.sim.model._model
        self._markers: list[Any] = list(getattr(env.model.mujoco_arena, "markers", ()))
        fixtures = [thing.root_body for thing in env.model.mujoco_objects if not _moves_freely(self._model, thing)]
        self._turning = [self._model.body(body).id for body in fixtures]  # the markers are only moved
        self._moving = self._turning + [self._model.body(marker.root_body).id for marker in self._markers]
        self._marker_geoms = [self._model.geom(marker.visual_geoms[0]).id for marker in self._markers]

    def read(self) -> NDArray[np.float64]:
        """Return positions (N, 3) and quaternions (M, 4), then 1 for each marker that is wiped, all in one row."""
        wiped = [float(marker in self._env.wiped_markers) for marker in self._markers]
        moved, turned = self._model.body_pos[self._moving], self._model.body_quat[self._turning]
        return np.concatenate([moved.ravel(), turned.ravel(), wiped])

    def write(self, state: NDArray[np.float64]) -> None:
        """Restore what `read` returned."""
        ends = np.cumsum([3 * len(self._moving), 4 * len(self._turning)])
        moved, turned, wiped = np.split(state, ends)
        self._model.body_pos[self._moving] = moved.reshape(-1, 3)
        self._model.body_quat[self._turning] = turned.reshape(-1, 4)
        if self._markers:
            self._env.wiped_markers = [marker for marker, gone in zip(self._markers, wiped, strict=True) if gone]
            self._model.geom_rgba[self._marker_geoms, 3] = 1.0 - wiped


def _moves_freely(model: mujoco.MjModel, thing: Any) -> bool:
    joint = model.body_jntadr[model.body(thing.root_body).id]
    return bool(joint >= 0 and model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE)
