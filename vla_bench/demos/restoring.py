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


_MESH_PATH = re.compile(r'file="[^"]*/([^"/]*)"')  # the folder depends on the installation


class StateRestorationError(VlaBenchError):
    """A stored state that does not fit the current version of the environment."""


@runtime_checkable
class _RecordsInitialState(Protocol):
    """A world that stores its objects' poses at the start of an episode."""

    def begin_episode(self) -> None:
        """Store the current poses as those of the start."""


class Environments:
    """Environments of one process; one is open at a time, and another task builds a new scene."""

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
        """The open environment."""
        assert self._env is not None, "no environment is open"
        return self._env

    def close(self) -> None:
        """Close the open environment."""
        if self._env is not None:
            self._env.close()
        self._env = None


def check_cameras(cameras: Iterable[str]) -> None:
    """Raise `UnknownNameError` for a camera that no environment has."""
    from vla_bench.core.env_options import CAMERAS

    for camera in cameras:
        if camera not in CAMERAS:
            raise UnknownNameError("camera", camera, CAMERAS)


def restart_episode(env: "VlaBenchEnv", summary: DemonstrationSummary, first: NDArray[np.float64]) -> bool:
    """Restart the episode of a demonstration at its stored first state, (D,).

    The environment is reset with the seed first, because the seed sets what a state does not hold, such as the pose of
    a fixture.

    Returns:
        Whether the seed alone still leads to the stored state.
    """
    env.reset(seed=summary.scene_seed)
    state = env.state()
    if state.shape != first.shape:
        raise StateRestorationError(
            f"{summary.identity.task_id} has a state of {state.size} numbers in this version, "
            f"but the recorded state has {first.size}"
        )
    same = bool(np.array_equal(state, first))
    env.set_state(first)
    world = env.simulation.world
    if not same and isinstance(world, _RecordsInitialState):
        world.begin_episode()
    return same


def same_model(one: str, other: str) -> bool:
    """Return whether two MJCF texts are equal, except for the folders of their meshes."""
    return _MESH_PATH.sub(r'file="\1"', one) == _MESH_PATH.sub(r'file="\1"', other)
