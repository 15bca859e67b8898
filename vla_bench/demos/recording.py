"""Record episodes: an expert acts in an environment, and everything a policy could learn from is kept."""

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.types import ACTION_DIM, Observation
from vla_bench.demos.demonstration import Demonstration
from vla_bench.demos.header import FileHeader
from vla_bench.demos.noise import NoiseOptions, make_noise
from vla_bench.demos.options import CollectOptions
from vla_bench.demos.restoring import Environments

if TYPE_CHECKING:  # at run time only a worker that records loads the simulator
    from vla_bench.envs.environment import VlaBenchEnv
    from vla_bench.experts import Expert


class Recorder(Protocol):
    """What a worker process records with."""

    def __call__(self, identity: EpisodeIdentity) -> Demonstration:
        """Record one episode, whether it succeeds or not."""

    def header(self) -> FileHeader:
        """Return the header of files with what was recorded last."""


class ExpertRecorder:
    """Record the scripted expert of each task; one environment is open at a time."""

    def __init__(self, options: CollectOptions) -> None:
        self._options = options
        self._environments = Environments(**options.env_kwargs())

    def __call__(self, identity: EpisodeIdentity) -> Demonstration:
        """Record one episode."""
        from vla_bench.experts import make_expert

        env = self._environments.of(identity.task_id)
        return record_episode(env, make_expert(env.task), identity, self._options.noise)

    def header(self) -> FileHeader:
        """Return the header that fits the environment used last."""
        return header_of(self._environments.last)


def record_episode(
    env: "VlaBenchEnv", expert: "Expert", identity: EpisodeIdentity, noise: NoiseOptions | None = None
) -> Demonstration:
    """Run one episode to its end and return it: observations before each action, and the expert's clean actions."""
    observation, info = env.reset(seed=identity.scene_seed())
    scene_hash, success = str(info["scene_hash"]), False
    world = env.simulation.world
    expert.reset(world, identity.generator("expert"))
    disturbance = make_noise(noise, identity.generator("noise"))
    steps: dict[str, list[Any]] = defaultdict(list)
    terminated = truncated = False
    while not (terminated or truncated):
        action = expert.act(world)
        executed = np.clip(action + disturbance.sample(), -1.0, 1.0).astype(np.float32)
        _keep(steps, observation, env.state())
        observation, reward, terminated, truncated, info = env.step(executed)
        success = bool(info["success"])
        after = {"actions": action, "executed_actions": executed, "rewards": reward, "phases": expert.phase}
        for name, value in {**after, "dones": terminated or truncated}.items():
            steps[name].append(value)
    return _demonstration(env, identity, scene_hash, success, steps)


def header_of(env: "VlaBenchEnv") -> FileHeader:
    """Return the header of a file with demonstrations from `env`."""
    from vla_bench import __version__

    options = env.options
    kwargs = {
        "image_size": options.image_size,
        "rendering": options.rendering,
        "cameras": list(options.cameras),
        "depth": options.depth,
        "robot": options.robot,
    }
    return FileHeader(
        cameras=tuple(options.cameras),
        image_size=options.image_size,
        proprioception_fields=env.proprioception_fields,
        depth=options.depth,
        action_dim=int(np.prod(env.action_space.shape or (ACTION_DIM,))),
        env_args={  # 2 is robomimic's number for Gym environments
            "env_name": f"vla_bench/{env.task.id}-v1",
            "env_version": __version__,
            "type": 2,
            "env_kwargs": kwargs,
        },
    )


def _keep(steps: dict[str, list[Any]], observation: Observation, state: NDArray[np.float64]) -> None:
    for camera, image in observation["images"].items():
        steps[f"image {camera}"].append(image)
    for camera, depth in observation.get("depth", {}).items():
        steps[f"depth {camera}"].append(depth)
    steps["proprioception"].append(observation["proprioception"])
    steps["states"].append(state)


def _demonstration(
    env: "VlaBenchEnv", identity: EpisodeIdentity, scene_hash: str, success: bool, steps: dict[str, list[Any]]
) -> Demonstration:
    cameras = env.options.cameras
    return Demonstration(
        identity=identity,
        instruction=env.task.instruction,
        success=success,
        scene_seed=identity.scene_seed(),
        scene_hash=scene_hash,
        images={camera: np.stack(steps[f"image {camera}"]) for camera in cameras},
        depth={camera: np.stack(steps[f"depth {camera}"]) for camera in cameras if env.options.depth},
        proprioception=np.array(steps["proprioception"], dtype=np.float32),
        actions=np.array(steps["actions"], dtype=np.float32),
        executed_actions=np.array(steps["executed_actions"], dtype=np.float32),
        rewards=np.array(steps["rewards"], dtype=np.float32),
        dones=np.array(steps["dones"], dtype=bool),
        states=np.array(steps["states"], dtype=np.float64),
        phases=tuple(steps["phases"]),
        model_xml=env.model_xml(),
    )
