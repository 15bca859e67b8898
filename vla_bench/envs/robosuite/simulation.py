"""The simulation of a robosuite task: its environment with seeds and rendering of this package."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.env_options import EnvOptions
from vla_bench.core.geometry import CameraGeometry
from vla_bench.core.types import ACTION_DIM, FloatArray, ImageArray
from vla_bench.envs.engines import engines
from vla_bench.envs.rendering.renderer import Renderer, shared_renderer
from vla_bench.envs.robosuite.factory import make_robosuite_env
from vla_bench.envs.robosuite.items.objects import guest_names
from vla_bench.envs.robosuite.scene_models import RenderModel, strip_visuals
from vla_bench.envs.robosuite.state import CONTROLLER_STATE_SIZE, FINGERS, JOINTS, Arm, Fixtures, HiddenState
from vla_bench.envs.robosuite.world import RobosuiteWorld
from vla_bench.envs.sensors import CameraGeometryCache, NormalForce, arm_proprioception_fields, geom_segments
from vla_bench.envs.simulation import Disturbance, Fixture
from vla_bench.tasks.task import Task

_CAMERAS = {"wrist": "robot0_eye_in_hand"}  # ours -> robosuite's; the others have the same name
_SCENE_STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS
_FULL_STATE = _SCENE_STATE | mujoco.mjtState.mjSTATE_WARMSTART
_PREFIXES = {1: ("",), 2: ("right_", "left_")}  # of the arms' proprioception fields, by number of arms

_Image = TypeVar("_Image", bound=NDArray[Any])


@engines.named("robosuite")
class RobosuiteSimulation:
    """An unmodified robosuite environment, built once.

    A task's option `env_name` names the environment; its other options are passed to `robosuite.make`. With two arms,
    the first 7 numbers of an action control the right arm, robosuite's first robot, and the other 7 the left arm.
    """

    def __init__(self, task: Task, options: EnvOptions) -> None:
        self._task, self._options = task, options
        self._env = make_robosuite_env(options.robot, guest_names(task.objects.values()), **task.engine_options)
        self._xml = strip_visuals(self._env)
        # Imported here because it imports robosuite, whose log messages `make_robosuite_env` suppresses.
        from vla_bench.envs.control.robosuite import RobosuiteController

        self._control = RobosuiteController(self._env)
        self._model: mujoco.MjModel = self._env.sim.model._model
        self.data: mujoco.MjData = self._env.sim.data._data
        self._arms = [Arm(robot, self._model, self.data) for robot in self._env.robots]
        self._hidden, self._fixtures = HiddenState(self._env), Fixtures(self._env)
        self._world = RobosuiteWorld(self._env, task.objects)
        robots = [self._model.body(robot.robot_model.root_body).id for robot in self._env.robots]
        self._segment_of_geom = geom_segments(self._model, robots, self._world.item_bodies())
        self._cameras = {name: _CAMERAS.get(name, name) for name in options.cameras}
        self._geometries = {name: CameraGeometryCache(self._model, camera) for name, camera in self._cameras.items()}
        self._normal_force = NormalForce(self._model, self._world.finger_bodies())
        self._render_model = RenderModel(self._xml, options.rendering, own_model=bool(options.perturb))
        self._renderer: Renderer | None = None
        self._reward, self._succeeded, self._gripper_force_n = 0.0, False, 0.0
        self.action_dim = ACTION_DIM * len(self._arms)
        self.proprioception_fields = tuple(
            field
            for prefix in _PREFIXES[len(self._arms)]
            for field in arm_proprioception_fields(FINGERS, JOINTS, prefix=prefix)
        )

    @property
    def world(self) -> RobosuiteWorld:
        """The view for goal predicates and experts."""
        return self._world

    @property
    def instruction(self) -> str:
        """The task's instruction."""
        return self._task.instruction

    def reset(self, generator: np.random.Generator, disturb: Disturbance | None = None) -> None:
        """Reset as robosuite does, with random numbers from `generator`, then let `disturb` move what was placed.

        robosuite and its placement samplers share the generator `env.rng`, so its state is set.
        """
        seeded = np.random.default_rng(generator.integers(2**63))
        self._env.rng.bit_generator.state = seeded.bit_generator.state
        self._fixtures.restore()
        self._env.reset()
        self._control.begin_episode()
        if disturb is not None:
            disturb(self._model, self.data)
        # robosuite builds its controllers before it opens the fingers, and at the first step they would use the arm's
        # inertia of that moment. They are refreshed here, so that the first step depends on the state alone.
        self._refresh()
        self._reward, self._succeeded = 0.0, False
        self._world.begin_episode()

    def step(self, action: FloatArray) -> None:
        """Advance one control step as robosuite's own `step` does, without its observations.

        Reward and success are computed at the same point as in robosuite. Then positions and contacts are updated to
        the last substep, which robosuite does at the next step.
        """
        env, starts = self._env, range(0, self.action_dim, ACTION_DIM)
        native = [action[start : start + arm.action_dim] for arm, start in zip(self._arms, starts, strict=True)]
        if self._hidden.tracks_contact_forces:
            for arm in self._arms:
                arm.record_contact_force()
        self._control.advance(np.concatenate(native))
        self._gripper_force_n = self._normal_force.largest_n(self.data)  # before contacts are updated
        env.timestep += 1
        env.cur_time += env.control_timestep
        self._reward = float(env._post_action(action)[0])
        self._succeeded = bool(env._check_success())
        self._refresh()

    def images(self) -> dict[str, ImageArray]:
        """Render every camera. Without cameras, no OpenGL is needed."""
        if not self._cameras:
            return {}
        renderer, data = self._synchronized_renderer()
        return renderer.images(data, self._cameras)

    def depth(self) -> dict[str, NDArray[np.float32]]:
        """Render every camera's depth [m]."""
        return self._render(Renderer.depth)

    def segmentation(self) -> dict[str, NDArray[np.uint8]]:
        """Render the segment of every pixel of every camera."""
        return self._render(partial(Renderer.segmentation, segment_of_geom=self._segment_of_geom))

    def cameras(self) -> dict[str, CameraGeometry]:
        """Return the current geometry of every camera."""
        return {name: camera.geometry(self.data) for name, camera in self._geometries.items()}

    def proprioception(self) -> NDArray[np.float32]:
        """Return the robot's proprioception, the right arm's before the left arm's."""
        return np.concatenate([arm.proprioception() for arm in self._arms], dtype=np.float32)

    def succeeded(self) -> bool:
        """Return robosuite's success check after the last step."""
        return self._succeeded

    def reward(self, succeeded: bool) -> float:
        """Return robosuite's reward for the last step."""
        return self._reward

    def gripper_force_n(self) -> float:
        """Return the largest normal force at a contact of the grippers at the end of the last step [N]."""
        return self._gripper_force_n

    def state(self) -> NDArray[np.float64]:
        """Return time, qpos, qvel, the solver's warm start, the state of each arm's controllers, then `HiddenState`."""
        return self._read_state(_FULL_STATE)

    def scene_state(self) -> NDArray[np.float64]:
        """Return the state without the solver's warm start."""
        return self._read_state(_SCENE_STATE)

    def set_state(self, state: NDArray[np.float64]) -> None:
        """Restore a state that `state` returned."""
        size = mujoco.mj_stateSize(self._model, _FULL_STATE)
        ends = size + CONTROLLER_STATE_SIZE * np.arange(len(self._arms) + 1)
        mujoco.mj_setState(self._model, self.data, state[:size], _FULL_STATE)
        for arm, start in zip(self._arms, ends[:-1], strict=True):
            arm.set_controller_state(state[start : start + CONTROLLER_STATE_SIZE])
        self._hidden.write(state[ends[-1] :])
        self._refresh()
        self._reward = float(self._env.reward(None))
        self._hidden.write(state[ends[-1] :])  # computing Wipe's reward wipes the dirt under the tool
        self._succeeded = bool(self._env._check_success())

    def models(self) -> tuple[mujoco.MjModel, ...]:
        """Return the simulated model and, with cameras, the render model."""
        return (self._model, self._render_model.model()) if self._cameras else (self._model,)

    def models_changed(self) -> None:
        """Update the items' geometry."""
        self._world = RobosuiteWorld(self._env, self._task.objects)

    def changes(self) -> tuple[NDArray[np.float64], ...]:
        """Return nothing, because the state contains everything that robosuite changes in the model."""
        return ()

    def item_bodies(self) -> Mapping[str, Iterable[int]]:
        """Return the bodies of each item."""
        return self._world.item_bodies()

    def fixtures(self) -> tuple[Fixture, ...]:
        """Return bins, pegs, doors and dirt."""
        return self._fixtures.all()

    def fixture_pose(self, body: int) -> tuple[FloatArray, FloatArray]:
        """Return the position (3,) and quaternion (4,) of a fixture."""
        return self._fixtures.pose(body)

    def move_fixture(self, body: int, position_world: FloatArray, quat_wxyz: FloatArray) -> None:
        """Move a fixture for this episode."""
        self._fixtures.move(body, position_world, quat_wxyz)

    def arm_qpos_addresses(self) -> NDArray[np.int64]:
        """Return the addresses of the arms' joint positions in `qpos`."""
        found = [np.asarray(robot._ref_joint_pos_indexes, dtype=np.int64) for robot in self._env.robots]
        return np.concatenate(found)

    def model_xml(self) -> str:
        """Return the MJCF of the compiled model."""
        return self._xml

    def close(self) -> None:
        """Free robosuite's simulation and release the renderer, which other environments may share."""
        self._renderer = None
        self._env.close()

    def _read_state(self, parts: int) -> NDArray[np.float64]:
        physics = np.empty(mujoco.mj_stateSize(self._model, parts))
        mujoco.mj_getState(self._model, self.data, physics, parts)
        return np.concatenate([physics, *(arm.controller_state() for arm in self._arms), self._hidden.read()])

    def _refresh(self) -> None:
        """Recompute positions and contacts, and make the controllers recompute at the next step."""
        mujoco.mj_fwdPosition(self._model, self.data)
        for arm in self._arms:
            arm.refresh_controllers()

    def _render(self, render: Callable[[Renderer, mujoco.MjData, str], _Image]) -> dict[str, _Image]:
        if not self._cameras:
            return {}
        renderer, data = self._synchronized_renderer()
        return {name: render(renderer, data, camera) for name, camera in self._cameras.items()}

    def _synchronized_renderer(self) -> tuple[Renderer, mujoco.MjData]:
        model, data = self._render_model.at(self._model, self.data)
        if self._renderer is None:
            self._renderer = shared_renderer(model, self._options.image_size, self._options.rendering)
        return self._renderer, data
