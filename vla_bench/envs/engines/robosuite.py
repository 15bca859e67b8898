"""robosuite's own environments: its scenes, controller, rewards and success checks, with our seeds and our renderer."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.cameras import CameraGeometry
from vla_bench.core.errors import ConventionError, UnknownNameError
from vla_bench.core.rotations import quat_wxyz_to_axis_angle
from vla_bench.core.types import CONTROL_HZ, FloatArray, ImageArray, ProprioceptionField
from vla_bench.envs.engines import engines
from vla_bench.envs.meshes import FAST_FACES, simplified
from vla_bench.envs.options import EnvOptions, Rendering
from vla_bench.envs.renderer import Renderer, shared_renderer
from vla_bench.envs.robosuite_world import RobosuiteWorld
from vla_bench.envs.views import camera_geometry, segment_of_geoms
from vla_bench.tasks.task import Task

_CAMERAS = {"wrist": "robot0_eye_in_hand"}  # ours -> robosuite's; the others have the same name
_ROBOTS = {"panda": "Panda"}
_FULL_STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS | mujoco.mjtState.mjSTATE_WARMSTART
_ROBOT_PARTS = ("robot0_", "gripper0_", "fixed_mount0_")  # what the names of the robot's meshes begin with
_ARM = "right"  # what robosuite calls a single arm
_SIZE_SEED = 0  # robosuite draws the size of Lift's cube when it builds the model: the same cube in every environment


Picture = TypeVar("Picture", bound=NDArray[Any])


@engines.named("robosuite")
class RobosuiteSimulation:
    """A stock robosuite environment, built once.

    A task's option `env_name` says which; its other options go to `robosuite.make`.
    """

    def __init__(self, task: Task, options: EnvOptions) -> None:
        self._options = options
        self._env = _make(options.robot, **task.engine_options)
        # Only now: it imports robosuite, which `_make` keeps quiet.
        from vla_bench.envs.robosuite_control import RobosuiteControl

        self._control = RobosuiteControl(self._env)
        self._model: mujoco.MjModel = self._env.sim.model._model
        self.data: mujoco.MjData = self._env.sim.data._data
        self._robot = self._env.robots[0]
        self._gripper = self._robot.gripper[_ARM]
        self._hand: int = self._model.body(self._robot.robot_model.eef_name[_ARM]).id
        self._world = RobosuiteWorld(self._env, task.objects)
        robots = [self._model.body(robot.robot_model.root_body).id for robot in self._env.robots]
        self._segment_of_geom = segment_of_geoms(self._model, robots, self._world.item_bodies())
        self._cameras = {name: _CAMERAS.get(name, name) for name in options.cameras}
        self._xml: str = self._env.sim.model.get_xml()
        self._drawn: tuple[mujoco.MjModel, mujoco.MjData] | None = None  # made when an image is first asked for
        self._reward, self._succeeded = 0.0, False
        self.proprioception_fields = _proprioception_fields()

    @property
    def world(self) -> RobosuiteWorld:
        """The view that goal predicates and experts read."""
        return self._world

    def reset(self, generator: np.random.Generator) -> None:
        """Place everything anew, as robosuite does, but from `generator`.

        robosuite draws from `env.rng`, which its placement samplers share, so that generator's state is what is set.
        """
        fresh = np.random.default_rng(generator.integers(2**63))
        self._env.rng.bit_generator.state = fresh.bit_generator.state
        self._env.reset()
        # robosuite builds its controllers before it opens the fingers, and they keep the arm's inertia from then for
        # the first step. They look again here, so that the first step, too, follows from the state alone.
        self._look_again()
        self._reward, self._succeeded = 0.0, False
        self._world.begin_episode()

    def step(self, action: FloatArray) -> None:
        """Advance one control step, as `robosuite`'s own `step` does, less the observations that it computes.

        Reward and success are taken where robosuite takes them; afterwards positions and contacts are brought up to
        date with the last substep, which robosuite leaves for the next step.
        """
        env = self._env
        self._control.advance(action)
        env.timestep += 1
        env.cur_time += env.control_timestep
        self._reward = float(env._post_action(action)[0])
        self._succeeded = bool(env._check_success())
        self._look_again()

    def images(self) -> dict[str, ImageArray]:
        """Render every camera; where there is none, no OpenGL is needed."""
        return self._draw(Renderer.image)

    def depth(self) -> dict[str, NDArray[np.float32]]:
        """Render every camera's depth [m]."""
        return self._draw(Renderer.depth)

    def segmentation(self) -> dict[str, NDArray[np.uint8]]:
        """Render which segment each pixel of every camera shows."""
        return self._draw(partial(Renderer.segmentation, segment_of_geom=self._segment_of_geom))

    def cameras(self) -> dict[str, CameraGeometry]:
        """Return where every camera stands now."""
        return {name: camera_geometry(self._model, self.data, camera) for name, camera in self._cameras.items()}

    def proprioception(self) -> NDArray[np.float32]:
        """Return the robot's own state."""
        robot, data = self._robot, self.data
        parts = (
            self._world.end_effector_position_world(),
            quat_wxyz_to_axis_angle(self._world.end_effector_quat_wxyz_world()),
            data.qpos[robot._ref_gripper_joint_pos_indexes[_ARM]],
            data.qpos[robot._ref_joint_pos_indexes],
            data.qvel[robot._ref_joint_vel_indexes],
            quat_wxyz_to_axis_angle(data.xquat[self._hand]),
        )
        return np.concatenate(parts, dtype=np.float32)

    def succeeded(self) -> bool:
        """Return robosuite's own verdict on the last step."""
        return self._succeeded

    def reward(self, succeeded: bool) -> float:
        """Return robosuite's own reward for the last step."""
        return self._reward

    def state(self) -> NDArray[np.float64]:
        """Return time, qpos, qvel, the solver's warm start, then the controllers' memory: fingers (2), posture (7)."""
        physics = np.empty(mujoco.mj_stateSize(self._model, _FULL_STATE))
        mujoco.mj_getState(self._model, self.data, physics, _FULL_STATE)
        controller = self._robot.part_controllers[_ARM]
        return np.concatenate([physics, np.resize(self._gripper.current_action, 2), controller.initial_joint])

    def set_state(self, state: NDArray[np.float64]) -> None:
        """Restore what `state` returned."""
        size = mujoco.mj_stateSize(self._model, _FULL_STATE)
        mujoco.mj_setState(self._model, self.data, state[:size], _FULL_STATE)
        self._gripper.current_action = state[size : size + 2].copy()
        self._robot.part_controllers[_ARM].initial_joint = state[size + 2 :].copy()
        self._look_again()
        self._reward, self._succeeded = float(self._env.reward(None)), bool(self._env._check_success())

    def model_xml(self) -> str:
        """Return the MJCF of the compiled model."""
        return self._xml

    def close(self) -> None:
        """Free robosuite's simulation."""
        self._env.close()

    def _look_again(self) -> None:
        """Compute positions and contacts anew, and let the controllers do so too at the next step."""
        mujoco.mj_fwdPosition(self._model, self.data)
        for controller in self._robot.part_controllers.values():
            controller.new_update = True

    def _draw(self, draw: Callable[[Renderer, mujoco.MjData, str], Picture]) -> dict[str, Picture]:
        if not self._cameras:
            return {}
        model, data = self._drawn_scene()
        renderer = shared_renderer(model, self._options.image_size, self._options.rendering)
        return {name: draw(renderer, data, camera) for name, camera in self._cameras.items()}

    def _drawn_scene(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        if self._drawn is None:
            model = _drawn_model(self._xml, self._options.rendering)
            # robosuite moves what does not move, such as the bins, in the compiled model.
            model.body_pos[:], model.body_quat[:] = self._model.body_pos, self._model.body_quat
            self._drawn = model, mujoco.MjData(model)
        model, data = self._drawn
        data.qpos[:] = self.data.qpos
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        return model, data


@lru_cache(maxsize=8)
def _drawn_model(xml: str, rendering: Rendering) -> mujoco.MjModel:
    """Compile a second model for drawing only, so that simplified meshes cannot touch robosuite's physics."""
    spec = mujoco.MjSpec.from_string(xml)
    for site in spec.sites:
        site.rgba = np.zeros(4)
    if rendering == "fast":
        _simplify_robot(spec)
        spec.visual.quality.offsamples = 0
    return spec.compile()


def _simplify_robot(spec: mujoco.MjSpec) -> None:
    for mesh in spec.meshes:
        if mesh.name.startswith(_ROBOT_PARTS):  # the objects are simple, and their textures need their own vertices
            vertices, faces = simplified(Path(mesh.file), FAST_FACES)
            mesh.file, mesh.uservert, mesh.userface = "", vertices.ravel(), faces.ravel()


def _make(robot: str, *, env_name: object = "", **options: object) -> Any:
    with _silenced():
        import robosuite

        if env_name not in robosuite.ALL_ENVIRONMENTS:
            raise UnknownNameError("robosuite environment", str(env_name), robosuite.ALL_ENVIRONMENTS)
        if robot not in _ROBOTS:
            raise ConventionError(f"Suite `robosuite` has no robot {robot!r}. Known: {', '.join(_ROBOTS)}.")
        return robosuite.make(
            env_name,
            robots=_ROBOTS[robot],
            has_renderer=False,
            has_offscreen_renderer=False,
            use_camera_obs=False,
            use_object_obs=False,
            control_freq=CONTROL_HZ,
            ignore_done=True,  # the horizon is the task's
            hard_reset=False,  # compiling anew takes two seconds
            seed=_SIZE_SEED,
            **options,
        )


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep robosuite's remarks about optional packages and controller files off the user's terminal."""
    logger = logging.getLogger("robosuite_logs")
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False


def _proprioception_fields() -> tuple[ProprioceptionField, ...]:
    return (
        ProprioceptionField("end_effector_position", 3, "m, world frame, point between the fingertips"),
        ProprioceptionField("end_effector_axis_angle", 3, "rad, world frame, robosuite's sign convention"),
        ProprioceptionField("gripper_position", 2, "m, finger joints"),
        ProprioceptionField("joint_positions", 7, "rad"),
        ProprioceptionField("joint_velocities", 7, "rad/s"),
        ProprioceptionField("hand_axis_angle", 3, "rad, world frame, the body that holds the gripper: LIBERO's state"),
    )
