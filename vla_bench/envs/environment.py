"""The Gymnasium environment of one task, the same for every simulation engine."""

import string
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from vla_bench.core.env_options import CAMERAS, EnvOptions, Rendering
from vla_bench.core.episode import scene_hash
from vla_bench.core.errors import ConventionError, UnknownNameError
from vla_bench.core.types import (
    ACTION_DIM,
    CONTROL_HZ,
    FloatArray,
    ImageArray,
    Observation,
    ProprioceptionField,
    still_action,
)
from vla_bench.envs.engines import engines
from vla_bench.envs.perturbations import Perturbation
from vla_bench.envs.rendering.backend import load_mujoco
from vla_bench.envs.simulation import Simulation, segment_names
from vla_bench.tasks import Task, get_task
from vla_bench.tasks.progress import SubgoalRecord, phase_of

_TEXT_CHARACTERS = string.printable

Info = dict[str, Any]  # Gymnasium's own type


class VlaBenchEnv(gymnasium.Env[Observation, FloatArray]):
    """One language-conditioned task. The seed of `reset` alone decides the scene."""

    observation_space: spaces.Dict  # type: ignore[assignment]  # its samples are plain dictionaries

    metadata = {"render_modes": ["rgb_array"], "render_fps": CONTROL_HZ}  # noqa: RUF012  # Gymnasium declares it so

    def __init__(self, task: Task, options: EnvOptions) -> None:
        self.task, self.options, self.render_mode = task, options, "rgb_array"
        load_mujoco(renders=bool(options.cameras))
        self.simulation = _simulation(task, options)
        self._wait_steps = task.wait_steps if options.wait_steps is None else options.wait_steps
        self._steps, self._held, self._ready = 0, 0, False
        self._subgoals = SubgoalRecord(task)
        self.action_space = spaces.Box(-1.0, 1.0, (self.simulation.action_dim,), np.float32)
        self.observation_space = _observation_space(options, self.proprioception_fields, self.segment_names)

    @property
    def proprioception_fields(self) -> tuple[ProprioceptionField, ...]:
        """The named slices of `observation["proprioception"]`, in order."""
        return self.simulation.proprioception_fields

    @property
    def action_dim(self) -> int:
        """The size of an action: 7 for each arm, the right arm first."""
        return self.simulation.action_dim

    @property
    def segment_names(self) -> tuple[str, ...]:
        """The names of the values in `observation["segmentation"]`: background, robot, then every item."""
        return segment_names(self.simulation.world.items())

    def camera_intrinsics(self) -> dict[str, FloatArray]:
        """Return each camera's pinhole matrix, (3, 3) [pixels]; (0, 0) is the corner of the image."""
        size = self.options.image_size
        return {name: camera.intrinsics(size) for name, camera in self.simulation.cameras().items()}

    def camera_poses_world(self) -> dict[str, FloatArray]:
        """Return each camera's current camera-to-world transform, (4, 4): OpenCV's axes, x right, y down, z forward."""
        return {name: camera.pose_world for name, camera in self.simulation.cameras().items()}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, Info]:
        """Start an episode; `seed` alone decides the scene."""
        if options:
            raise ConventionError(
                f"reset() of {self.task.id} has no options, but got {', '.join(options)}. Pass only `seed`."
            )
        super().reset(seed=seed)
        self.simulation.reset(self.np_random)
        for _ in range(self._wait_steps):
            self.simulation.step(still_action(self.simulation.action_dim))
        self._steps, self._held, self._ready = 0, 0, True
        self._subgoals = SubgoalRecord(self.task)
        self._subgoals.update(self.simulation.world, 0)
        info = self._info(success=False)
        info["scene_hash"] = scene_hash(self.simulation.scene_state(), *self.simulation.changes())
        info["segment_names"] = self.segment_names
        return self.observe(), info

    def step(self, action: FloatArray) -> tuple[Observation, float, bool, bool, Info]:
        """Advance one control step and return the next observation."""
        reward, terminated, truncated, info = self.advance(action)
        return self.observe(), reward, terminated, truncated, info

    def advance(self, action: FloatArray) -> tuple[float, bool, bool, Info]:
        """Advance one control step without rendering; `step` combines this and `observe`."""
        if not self._ready:
            raise ConventionError(
                f"{self.task.id}: step() was called before reset() or after an episode has ended. Call reset() first."
            )
        self.simulation.step(_validated_action(action, self.simulation.action_dim))
        self._steps += 1
        self._subgoals.update(self.simulation.world, self._steps)
        reached = self.simulation.succeeded() and self._subgoals.in_order()
        self._held = self._held + 1 if reached else 0
        success = self._held >= self.task.success_steps
        violated = not success and self.task.violated(self.simulation.world)
        terminated, truncated = success or violated, self._steps >= self.task.horizon
        self._ready = not (terminated or truncated)
        return self.simulation.reward(success), terminated, truncated and not terminated, self._info(success)

    def observe(self) -> Observation:
        """Return the current observation with newly rendered images. No array is reused later."""
        observation: Observation = {
            "images": self.simulation.images(),
            "proprioception": self.simulation.proprioception(),
            "instruction": self.simulation.instruction,
        }
        if self.options.depth:
            observation["depth"] = self.simulation.depth()
        if self.options.segmentation:
            observation["segmentation"] = self.simulation.segmentation()
        return observation

    def render(self) -> ImageArray:
        """Return the first camera's image."""
        if not self.options.cameras:
            raise ConventionError(f"render() needs a camera, but {self.task.id} was created with cameras=().")
        return next(iter(self.simulation.images().values()))

    def state(self) -> NDArray[np.float64]:
        """Return the whole simulation state, (D,)."""
        return self.simulation.state()

    def set_state(self, state: NDArray[np.float64]) -> None:
        """Restore a state that `state` returned."""
        self.simulation.set_state(state)

    def model_xml(self) -> str:
        """Return the MJCF of the compiled model."""
        return self.simulation.model_xml()

    def close(self) -> None:
        """Release the simulation."""
        self.simulation.close()

    def _info(self, success: bool) -> Info:
        world = self.simulation.world
        return {
            "success": success,
            "progress": 1.0 if success else self.task.progress(world),
            "phase": phase_of(self.task, world),
            "subgoals_reached": self._subgoals.reached(),
            "end_effector_position": world.end_effector_position_world().copy(),
            "cameras": self._camera_info(),
        }

    def _camera_info(self) -> dict[str, dict[str, FloatArray]]:
        """Return intrinsics (3, 3) and camera-to-world pose (4, 4) of every camera, as the public methods do."""
        size = self.options.image_size
        cameras = self.simulation.cameras().items()
        return {name: {"intrinsics": one.intrinsics(size), "pose_world": one.pose_world} for name, one in cameras}


def make(
    task_id: str,
    image_size: int = 224,
    rendering: Rendering = "fast",
    cameras: tuple[str, ...] = CAMERAS,
    depth: bool = False,
    wait_steps: int | None = None,
    perturb: str | None = None,
    *,
    robot: str = "panda",
    segmentation: bool = False,
) -> VlaBenchEnv:
    """Return the environment of `suite.task`; `perturb` is such as "camera=2,lighting=1".

    Raise `UnknownNameError` for an unknown task, camera or axis, `PerturbationError` for an axis that the task lacks.
    """
    for camera in cameras:
        if camera not in CAMERAS:
            raise UnknownNameError("camera", camera, CAMERAS)
    options = EnvOptions(
        image_size=image_size,
        cameras=tuple(cameras),
        depth=depth,
        segmentation=segmentation,
        rendering=rendering,
        robot=robot,
        perturb=str(Perturbation.parse(perturb or "")) or None,
        wait_steps=wait_steps,
    )
    return VlaBenchEnv(get_task(task_id), options)


def make_registered(task_id: str, render_mode: str | None = None, **options: Any) -> VlaBenchEnv:
    """Return the environment for `gymnasium.make`, which passes a render mode."""
    return make(task_id, **options)


def _simulation(task: Task, options: EnvOptions) -> Simulation:
    def make_one(requested: Task) -> Simulation:
        simulation: Simulation = engines[requested.engine](requested, options)
        return simulation

    perturbation = Perturbation.parse(options.perturb or "")
    if not perturbation:
        return make_one(task)
    from vla_bench.envs.perturbations.simulation import perturbed_simulation  # loads mujoco

    return perturbed_simulation(make_one, task, perturbation)


def _validated_action(action: FloatArray, size: int) -> FloatArray:
    action = np.asarray(action, dtype=np.float64)
    if action.shape != (size,):
        arms = "" if size == ACTION_DIM else f": {ACTION_DIM} numbers for each of {size // ACTION_DIM} arms"
        raise ConventionError(f"An action has shape {action.shape}. Expected ({size},){arms}.")
    if not np.isfinite(action).all():
        raise ConventionError(f"An action is not finite: {action}.")
    return np.clip(action, -1.0, 1.0)


def _observation_space(
    options: EnvOptions, fields: tuple[ProprioceptionField, ...], segments: tuple[str, ...]
) -> spaces.Dict:
    size = options.image_size
    entries: dict[str, spaces.Space[Any]] = {
        "images": spaces.Dict({name: spaces.Box(0, 255, (size, size, 3), np.uint8) for name in options.cameras}),
        "proprioception": spaces.Box(-np.inf, np.inf, (sum(field.size for field in fields),), np.float32),
        "instruction": spaces.Text(max_length=512, charset=_TEXT_CHARACTERS),
    }
    if options.depth:
        entries["depth"] = spaces.Dict(
            {name: spaces.Box(0, np.inf, (size, size), np.float32) for name in options.cameras}
        )
    if options.segmentation:
        box = spaces.Box(0, len(segments) - 1, (size, size), np.uint8)
        entries["segmentation"] = spaces.Dict(dict.fromkeys(options.cameras, box))
    return spaces.Dict(entries)
