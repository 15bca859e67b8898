"""Restoring of recorded demonstrations in the simulator."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.errors import UnknownNameError, VlaBenchError
from vla_bench.demos.demonstration import DemonstrationSummary

if TYPE_CHECKING:
    from vla_bench.envs.environment import VlaBenchEnv


_MESH_PATH = re.compile(r'file="[^"]*/([^"/]*)"')  # of an installation, which may lie elsewhere


class StateRestorationError(VlaBenchError):
    """A stored state that the environment of today cannot take."""


@runtime_checkable
class _RecordsInitialState(Protocol):
    """A world that knows where things stood when the episode began."""

    def begin_episode(self) -> None:
        """Remember where everything stands now."""


class Environments:
    """Environments of one process, one open at a time: another task costs the building of a scene."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._env: VlaBenchEnv | None = None

    def get(self, task_id: str) -> "VlaBenchEnv":
        """Return the environment of `suite.task`."""
        from vla_bench.envs.environment import make

        if self._env is None or self._env.task.id != task_id:
            self.close()
            self._env = make(task_id, **self._options)
        return self._env

    @property
    def current(self) -> "VlaBenchEnv":
        """The environment that is open."""
        assert self._env is not None, "none was asked for"
        return self._env

    def close(self) -> None:
        """Close the environment that is open."""
        if self._env is not None:
            self._env.close()
        self._env = None


def check_cameras(cameras: Iterable[str]) -> None:
    """Raise `UnknownNameError` for a camera that no environment has, before any is made."""
    from vla_bench.envs.environment import CAMERAS

    for camera in cameras:
        if camera not in CAMERAS:
            raise UnknownNameError("camera", camera, CAMERAS)


def restart_episode(env: "VlaBenchEnv", summary: DemonstrationSummary, first: NDArray[np.float64]) -> bool:
    """Begin the episode of a demonstration at its stored first state, (D,); return whether its seed still leads there.

    The seed comes first because it sets what no state holds, such as where a fixture was mounted.
    """
    env.reset(seed=summary.scene_seed)
    there = env.state()
    if there.shape != first.shape:
        raise StateRestorationError(
            f"{summary.identity.task_id} has a state of {there.size} numbers today, the recorded one has {first.size}"
        )
    same = bool(np.array_equal(there, first))
    env.set_state(first)
    world = env.simulation.world
    if not same and isinstance(world, _RecordsInitialState):
        world.begin_episode()
    return same


def same_model(one: str, other: str) -> bool:
    """Whether two MJCF texts are the same, wherever their meshes lie."""
    return _MESH_PATH.sub(r'file="\1"', one) == _MESH_PATH.sub(r'file="\1"', other)
