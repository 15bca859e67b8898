"""What cameras see in the course of an episode, gathered step by step."""

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.types import Observation
from vla_bench.demos.demonstration import CameraTrack, Demonstration

if TYPE_CHECKING:  # at run time only a worker loads the simulator
    from vla_bench.envs.environment import VlaBenchEnv

_KINDS = ("images", "depth", "segmentation")  # of pictures in an observation


class Seen:
    """Pictures and camera poses of one episode in `env`."""

    def __init__(self, env: "VlaBenchEnv") -> None:
        self._env = env
        self._pictures: dict[str, dict[str, list[NDArray[Any]]]] = {kind: defaultdict(list) for kind in _KINDS}
        self._poses: dict[str, list[NDArray[Any]]] = defaultdict(list)

    def observe(self) -> Observation:
        """Return what is seen now."""
        return self._env.observe()

    def look(self, observation: Observation) -> None:
        """Keep what is seen now; `observation` is of this moment."""
        for kind, of_cameras in self._pictures.items():
            for camera, picture in observation.get(kind, {}).items():  # type: ignore[attr-defined]  # keys are literal
                of_cameras[camera].append(picture)
        for camera, pose in self._env.camera_poses_world().items():
            self._poses[camera].append(pose)

    def arrays(self) -> dict[str, Any]:
        """Return the fields of a `Demonstration` that speak of cameras."""
        intrinsics = self._env.camera_intrinsics()
        return {
            **{kind: {name: np.stack(all_) for name, all_ in of.items()} for kind, of in self._pictures.items()},
            "segment_names": self._env.segment_names if self._env.options.segmentation else (),
            "cameras": {name: CameraTrack(intrinsics[name], _track(poses)) for name, poses in self._poses.items()},
        }


class Unseen(Seen):
    """An episode that nothing is drawn of while it runs: a device that needs no pictures acts."""

    def observe(self) -> Observation:
        """Return what is known without cameras."""
        simulation = self._env.simulation
        return {"images": {}, "proprioception": simulation.proprioception(), "instruction": simulation.instruction}

    def look(self, observation: Observation) -> None:
        """Keep nothing."""

    def arrays(self) -> dict[str, Any]:
        """Return no pictures."""
        return {"images": {}}


def redrawn(env: "VlaBenchEnv", demonstration: Demonstration) -> Demonstration:
    """Return the demonstration with what the cameras of `env`, which is in its episode, see of its states."""
    seen = Seen(env)
    for state in demonstration.states:
        env.set_state(state)
        seen.look(seen.observe())
    return replace(demonstration, model_xml=env.model_xml(), **seen.arrays())


def _track(poses: list[NDArray[Any]]) -> NDArray[Any]:
    """Return all poses, (T, 4, 4), or the one of a camera that does not move, (4, 4)."""
    stacked = np.stack(poses)
    first: NDArray[Any] = stacked[0]
    return first if (stacked == first).all() else stacked
