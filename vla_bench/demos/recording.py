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


# ~ What cameras see in the course of an episode, gathered step by step.

_IMAGE_KINDS = ("images", "depth", "segmentation")  # of pictures in an observation


class ObservationRecorder:
    """Pictures and camera poses of one episode in `env`."""

    def __init__(self, env: "VlaBenchEnv") -> None:
        self._env = env
        self._pictures: dict[str, dict[str, list[NDArray[Any]]]] = {kind: defaultdict(list) for kind in _IMAGE_KINDS}
        self._poses: dict[str, list[NDArray[Any]]] = defaultdict(list)

    def observe(self) -> Observation:
        """Return what is seen now."""
        return self._env.observe()

    def record(self, observation: Observation) -> None:
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
            "cameras": {name: CameraTrack(intrinsics[name], _pose_track(poses)) for name, poses in self._poses.items()},
        }


class DeferredObservationRecorder(ObservationRecorder):
    """An episode that nothing is drawn of while it runs: a device that needs no pictures acts."""

    def observe(self) -> Observation:
        """Return what is known without cameras."""
        simulation = self._env.simulation
        return {"images": {}, "proprioception": simulation.proprioception(), "instruction": simulation.instruction}

    def record(self, observation: Observation) -> None:
        """Keep nothing."""

    def arrays(self) -> dict[str, Any]:
        """Return no pictures."""
        return {"images": {}}


def rerender_states(env: "VlaBenchEnv", demonstration: Demonstration) -> Demonstration:
    """Return the demonstration with what the cameras of `env`, which is in its episode, see of its states."""
    seen = ObservationRecorder(env)
    for state in demonstration.states:
        env.set_state(state)
        seen.record(seen.observe())
    return replace(demonstration, model_xml=env.model_xml(), **seen.arrays())


def _pose_track(poses: list[NDArray[Any]]) -> NDArray[Any]:
    """Return all poses, (T, 4, 4), or the one of a camera that does not move, (4, 4)."""
    stacked = np.stack(poses)
    first: NDArray[Any] = stacked[0]
    return first if (stacked == first).all() else stacked


# ~ Record episodes: a device acts in an environment, and everything a policy could learn from is kept.

_DEFERRED_RENDERING_THRESHOLD = (
    0.05  # failures among attempts: what is not drawn then makes up for restoring all other states
)


class Recorder(Protocol):
    """What a worker process records with."""

    def __call__(self, identity: EpisodeIdentity) -> Demonstration:
        """Record one episode, whether it succeeds or not."""

    def complete(self, demonstration: Demonstration) -> Demonstration:
        """Return what was recorded last, filtered since, with the pictures that it may still lack."""

    def header(self) -> FileHeader:
        """Return the header of files with what was recorded last."""


class DeviceRecorder:
    """Record what a device does in each task; one environment is open at a time.

    Pictures are drawn as the episode runs where nearly every step will be kept. Else they are drawn of the kept states
    alone, which are the same pictures to the bit: to restore a state costs 1 to 7 % of a step, to draw it half.
    """

    def __init__(self, options: CollectOptions) -> None:
        self._options = options
        self._environments = Environments(**options.env_kwargs())
        self._device = options.device.make()
        self._attempts: Counter[str] = Counter()  # by task
        self._failures: Counter[str] = Counter()
        self._images_deferred = False

    def __call__(self, identity: EpisodeIdentity) -> Demonstration:
        """Record one episode; one that the device discards is begun anew. Pictures may be left to `complete`."""
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
        """Return what was recorded last, filtered since, with the pictures that it may still lack."""
        return rerender_states(self._environments.current, demonstration) if self._images_deferred else demonstration

    def _defers_rendering(self, task_id: str) -> bool:
        """Return whether enough steps will be dropped: of failures, by how many there were here, or without effect."""
        options = self._options
        if (
            self._device.needs_images or options.perturb
        ):  # what a perturbation does to pictures may depend on those before
            return False
        failures = 0 if options.stores_failures else self._failures[task_id]
        return options.filters.noops is not None or failures > _DEFERRED_RENDERING_THRESHOLD * self._attempts[task_id]

    def header(self) -> FileHeader:
        """Return the header that fits the environment used last."""
        return header_of(self._environments.current)


def record_episode(
    env: "VlaBenchEnv",
    device: Device,
    identity: EpisodeIdentity,
    disturbance: Disturbance | None = None,
    observation_recorder: type[ObservationRecorder] = ObservationRecorder,
) -> Demonstration | None:
    """Run one episode to its end and return it, or None where the device discards it.

    A row holds what was seen before an action, the action that was wanted, and the one that moved the robot.
    """
    disturbance = disturbance or make_disturbance(identity)
    observation, info = env.reset(seed=identity.scene_seed())
    scene_hash, success, judged_by = str(info["scene_hash"]), False, "task"
    observation = device.begin(env, identity, observation)
    seen, steps = observation_recorder(env), _StepBuffer()
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
        seen.record(observation)
        steps.append(proprioception=observation["proprioception"], states=env.state())
        steps.append(actions=decision.action, executed_actions=executed, labels=label)
        steps.append(phases=decision.phase or str(info["phase"]))
        reward, terminated, truncated, info = env.advance(executed)
        success, over = bool(info["success"]), terminated or truncated
        steps.append(rewards=reward, dones=over)
        if not over:  # nothing is kept of what is seen after the end
            observation = seen.observe()
    return Demonstration(
        identity=identity,
        instruction=observation["instruction"],
        success=success,
        scene_seed=identity.scene_seed(),
        scene_hash=scene_hash,
        model_xml=env.model_xml(),
        device=device.name,
        judged_by=judged_by,
        **seen.arrays(),
        **steps.arrays(),
    )


def header_of(env: "VlaBenchEnv") -> FileHeader:
    """Return the header of a file with demonstrations from `env`."""
    from vla_bench import __version__

    options = env.options
    kwargs = {
        "image_size": options.image_size,
        "rendering": options.rendering,
        "cameras": list(options.cameras),
        "depth": options.depth,
        "segmentation": options.segmentation,
        "robot": options.robot,
        "perturb": str(options.perturbation) or None,
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


class _StepBuffer:
    """The rows of an episode, by the field that they belong to."""

    _TYPES: dict[str, Any] = {"states": np.float64, "dones": bool}  # noqa: RUF012  # the others are float32
    _WORDS = ("phases", "labels")

    def __init__(self) -> None:
        self._rows: dict[str, list[Any]] = defaultdict(list)

    def __bool__(self) -> bool:
        return bool(self._rows)

    def append(self, **values: object) -> None:
        """Add a value to each field."""
        for name, value in values.items():
            self._rows[name].append(value)

    def end(self) -> None:
        """Let the episode end with the last step."""
        self._rows["dones"][-1] = True

    def arrays(self) -> dict[str, Any]:
        """Return the fields of a `Demonstration` with a row a step."""
        words = {name: tuple(self._rows[name]) for name in self._WORDS}
        numbers = {name: rows for name, rows in self._rows.items() if name not in words}
        return words | {name: np.array(rows, dtype=self._TYPES.get(name, np.float32)) for name, rows in numbers.items()}
