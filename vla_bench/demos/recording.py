"""Recording of episodes: a device acts in an environment and all observations are stored."""

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.types import ACTION_DIM, Observation
from vla_bench.demos.demonstration import CameraTrack, Demonstration
from vla_bench.demos.devices import Device
from vla_bench.demos.disturbances import Disturbance, make_disturbance
from vla_bench.demos.header import FileHeader
from vla_bench.demos.options import CollectOptions
from vla_bench.demos.restoring import Environments

if TYPE_CHECKING:
    from vla_bench.envs.environment import VlaBenchEnv


_IMAGE_KINDS = ("images", "depth", "segmentation")  # of images in an observation


_DEFERRED_RENDERING_THRESHOLD = 0.05  # fraction of failures from which deferring is faster


class ObservationRecorder:
    """Images and camera poses of one episode in `env`, collected step by step."""

    def __init__(self, env: "VlaBenchEnv") -> None:
        self._env = env
        self._images: dict[str, dict[str, list[NDArray[Any]]]] = {kind: defaultdict(list) for kind in _IMAGE_KINDS}
        self._poses: dict[str, list[NDArray[Any]]] = defaultdict(list)

    def observe(self) -> Observation:
        """Return the current observation."""
        return self._env.observe()

    def record(self, observation: Observation) -> None:
        """Store the images of the current observation, and the current camera poses."""
        for kind, by_camera in self._images.items():
            for camera, image in observation.get(kind, {}).items():  # type: ignore[attr-defined]  # keys are literal
                by_camera[camera].append(image)
        for camera, pose in self._env.camera_poses_world().items():
            self._poses[camera].append(pose)

    def arrays(self) -> dict[str, Any]:
        """Return the fields of a `Demonstration` that hold images and cameras."""
        intrinsics = self._env.camera_intrinsics()
        return {
            **{kind: {name: np.stack(all_) for name, all_ in of.items()} for kind, of in self._images.items()},
            "segment_names": self._env.segment_names if self._env.options.segmentation else (),
            "cameras": {name: CameraTrack(intrinsics[name], _pose_track(poses)) for name, poses in self._poses.items()},
        }


class DeferredObservationRecorder(ObservationRecorder):
    """Recorder that renders nothing during the episode, for a device that needs no images."""

    def observe(self) -> Observation:
        """Return the current observation without images."""
        simulation = self._env.simulation
        return {"images": {}, "proprioception": simulation.proprioception(), "instruction": simulation.instruction}

    def record(self, observation: Observation) -> None:
        """Store nothing."""

    def arrays(self) -> dict[str, Any]:
        """Return no images."""
        return {"images": {}}


def rerender_states(env: "VlaBenchEnv", demonstration: Demonstration) -> Demonstration:
    """Return the demonstration with its states rendered by the cameras of `env`, which must be in its episode."""
    recorder = ObservationRecorder(env)
    for state in demonstration.states:
        env.set_state(state)
        recorder.record(recorder.observe())
    return replace(demonstration, model_xml=env.model_xml(), **recorder.arrays())


class Recorder(Protocol):
    """Recorder of episodes in a worker process."""

    def __call__(self, identity: EpisodeIdentity) -> Demonstration:
        """Record one episode, whether it succeeds or not."""

    def complete(self, demonstration: Demonstration) -> Demonstration:
        """Return the latest recording, which may have been filtered, with the images that were deferred."""

    def header(self) -> FileHeader:
        """Return the file header for the latest recording."""


class DeviceRecorder:
    """Recorder of a device in each task; one environment is open at a time.

    Images are rendered during the episode where nearly every step will be stored. Otherwise they are rendered
    afterwards, of the stored states only, with the same pixels: restoring a state takes 1 to 7 % of the time of a step,
    rendering it half.
    """

    def __init__(self, options: CollectOptions) -> None:
        self._options = options
        self._environments = Environments(**options.env_kwargs())
        self._device = options.device.make()
        self._attempts: Counter[str] = Counter()  # by task
        self._failures: Counter[str] = Counter()
        self._images_deferred = False

    def __call__(self, identity: EpisodeIdentity) -> Demonstration:
        """Record one episode, again where the device discards it; rendering may be deferred to `complete`."""
        env = self._environments.get(identity.task_id)
        self._images_deferred = self._defers_rendering(identity.task_id)
        observation_recorder = DeferredObservationRecorder if self._images_deferred else ObservationRecorder
        while True:
            disturbance = make_disturbance(identity, self._options.noise, self._options.slips)
            demonstration = record_episode(env, self._device, identity, disturbance, observation_recorder)
            if demonstration is not None:
                self._attempts[identity.task_id] += 1
                self._failures[identity.task_id] += not demonstration.success
                return demonstration

    def complete(self, demonstration: Demonstration) -> Demonstration:
        """Return the latest recording, which may have been filtered, with the images that were deferred."""
        return rerender_states(self._environments.current, demonstration) if self._images_deferred else demonstration

    def _defers_rendering(self, task_id: str) -> bool:
        """Return whether enough steps are expected to be dropped: of failures (by those so far) or no-ops."""
        options = self._options
        if self._device.needs_images or options.perturb:  # perturbed images may depend on earlier ones
            return False
        failures = 0 if options.stores_failures else self._failures[task_id]
        return options.filters.noops is not None or failures > _DEFERRED_RENDERING_THRESHOLD * self._attempts[task_id]

    def header(self) -> FileHeader:
        """Return the file header for the environment used last."""
        return header_of(self._environments.current)


def record_episode(
    env: "VlaBenchEnv",
    device: Device,
    identity: EpisodeIdentity,
    disturbance: Disturbance | None = None,
    observation_recorder: type[ObservationRecorder] = ObservationRecorder,
) -> Demonstration | None:
    """Run one episode to its end and return it; None where the device discards it.

    Each step stores the observation before an action, the desired action, and the action sent to the robot.
    """
    disturbance = disturbance or make_disturbance(identity)
    observation, info = env.reset(seed=identity.scene_seed())
    scene_hash, success, judged_by = str(info["scene_hash"]), False, "task"
    observation = device.begin(env, identity, observation)
    observations, steps = observation_recorder(env), _StepBuffer()
    over = False
    while not over:
        decision = device.decide(observation)
        if decision.verdict == "discard" or (decision.verdict is not None and not steps):
            return None
        if decision.verdict is not None:
            if decision.verdict != "end":
                success, judged_by = decision.verdict == "success", "person"
            steps.end()
            break
        executed, label = disturbance.disturb(
            decision.action if decision.executed is None else decision.executed, env.simulation.world
        )
        observations.record(observation)
        steps.append(proprioception=observation["proprioception"], states=env.state())
        steps.append(actions=decision.action, executed_actions=executed, labels=label)
        steps.append(phases=decision.phase or str(info["phase"]))
        reward, terminated, truncated, info = env.advance(executed)
        success, over = bool(info["success"]), terminated or truncated
        steps.append(rewards=reward, dones=over)
        if not over:  # the observation after the last action is not stored
            observation = observations.observe()
    return Demonstration(
        identity=identity,
        instruction=observation["instruction"],
        success=success,
        scene_seed=identity.scene_seed(),
        scene_hash=scene_hash,
        model_xml=env.model_xml(),
        device=device.name,
        judged_by=judged_by,
        **observations.arrays(),
        **steps.arrays(),
    )


def header_of(env: "VlaBenchEnv") -> FileHeader:
    """Return the file header of demonstrations from `env`."""
    from vla_bench import __version__

    options = env.options
    kwargs = {
        "image_size": options.image_size,
        "rendering": options.rendering,
        "cameras": list(options.cameras),
        "depth": options.depth,
        "segmentation": options.segmentation,
        "robot": options.robot,
        "perturb": options.perturb,
        **({} if options.wait_steps is None else {"wait_steps": options.wait_steps}),
    }
    return FileHeader(
        cameras=tuple(options.cameras),
        image_size=options.image_size,
        proprioception_fields=env.proprioception_fields,
        depth=options.depth,
        segmentation=options.segmentation,
        action_dim=int(np.prod(env.action_space.shape or (ACTION_DIM,))),
        env_args={  # 2 is robomimic's number for Gym environments
            "env_name": f"vla_bench/{env.task.id}-v1",
            "env_version": __version__,
            "type": 2,
            "env_kwargs": kwargs,
        },
    )


def _pose_track(poses: list[NDArray[Any]]) -> NDArray[Any]:
    """Return all poses, (T, 4, 4), or the only pose of a fixed camera, (4, 4)."""
    stacked = np.stack(poses)
    first: NDArray[Any] = stacked[0]
    return first if (stacked == first).all() else stacked


class _StepBuffer:
    """Buffer of an episode's step values, by field."""

    _TYPES: dict[str, Any] = {"states": np.float64, "dones": bool}  # noqa: RUF012  # other fields: float32
    _TEXT_FIELDS = ("phases", "labels")

    def __init__(self) -> None:
        self._rows: dict[str, list[Any]] = defaultdict(list)

    def __bool__(self) -> bool:
        return bool(self._rows)

    def append(self, **values: object) -> None:
        """Append a value to each field."""
        for name, value in values.items():
            self._rows[name].append(value)

    def end(self) -> None:
        """Mark the latest step as the last one of the episode."""
        self._rows["dones"][-1] = True

    def arrays(self) -> dict[str, Any]:
        """Return the fields of a `Demonstration` that have one value for each step."""
        texts = {name: tuple(self._rows[name]) for name in self._TEXT_FIELDS}
        numbers = {name: rows for name, rows in self._rows.items() if name not in texts}
        return texts | {name: np.array(rows, dtype=self._TYPES.get(name, np.float32)) for name, rows in numbers.items()}
