"""What stands fixed in robosuite's scenes and may be put elsewhere: bins, pegs, doors, and Wipe's dirt."""

from typing import Any

import mujoco
import numpy as np

from vla_bench.core.types import FloatArray
from vla_bench.envs.simulation import Fixture

_PEGS = ("peg1", "peg2")
_BINS = ("bin1", "bin2")  # robosuite places things in them by `bin1_pos`, `bin2_pos`, along the world's axes


class Fixtures:
    """Moves fixtures in the compiled model, and tells robosuite where it looks them up elsewhere."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._model: mujoco.MjModel = env.sim.model._model
        self._stock = {name: np.array(getattr(env, f"{name}_pos")) for name in _BINS if hasattr(env, f"{name}_pos")}

    def restore(self) -> None:
        """Let the next reset begin from where robosuite has its bins."""
        for name, position in self._stock.items():
            setattr(self._env, f"{name}_pos", position.copy())

    def all(self) -> tuple[Fixture, ...]:
        """Return every fixture."""
        model, env = self._model, self._env
        here = {model.body(body).name: body for body in range(model.nbody)}
        markers = [marker.root_body for marker in getattr(env.model.mujoco_arena, "markers", ())]
        things = [thing.root_body for thing in env.model.mujoco_objects]
        turning = [name for name in (*things, *markers, *_PEGS) if name in here and not model.body_jntnum[here[name]]]
        bins = [Fixture(here[name], bin=True) for name in self._stock]
        return (*(Fixture(here[name]) for name in turning), *bins)

    def pose(self, body: int) -> tuple[FloatArray, FloatArray]:
        """Return where a fixture stands: position (3,) and quaternion (4,)."""
        return self._model.body_pos[body].copy(), self._model.body_quat[body].copy()

    def move(self, body: int, position_world: FloatArray, quat_wxyz: FloatArray) -> None:
        """Put a fixture somewhere."""
        name, shift = self._model.body(body).name, position_world - self._model.body_pos[body]
        self._model.body_pos[body], self._model.body_quat[body] = position_world, quat_wxyz
        if name in self._stock:
            setattr(self._env, f"{name}_pos", np.array(position_world))
        if name == _BINS[1]:
            self._env.target_bin_placements += shift
