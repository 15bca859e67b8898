"""The simulation of a robosuite task: its environment with seeds and rendering of this package."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.geometry import CameraGeometry
from vla_bench.core.types import ACTION_DIM, FloatArray, ImageArray
from vla_bench.envs.engines import engines
from vla_bench.envs.options import EnvOptions
from vla_bench.envs.rendering.renderer import Renderer, shared_renderer
from vla_bench.envs.robosuite.factory import make_robosuite_env
from vla_bench.envs.robosuite.items.objects import guest_names
from vla_bench.envs.robosuite.scene_models import RenderModel, strip_visuals
from vla_bench.envs.robosuite.state import CONTROLLER_STATE_SIZE, Arm, Fixtures, HiddenState, arm_proprioception_fields
from vla_bench.envs.robosuite.world import RobosuiteWorld
from vla_bench.envs.sensors import CameraGeometryCache, NormalForce, geom_segments
from vla_bench.envs.simulation import Disturbance, Fixture
from vla_bench.tasks.task import Task

_CAMERAS = {"wrist": "robot0_eye_in_hand"}  # ours -> robosuite's; the others have the same name
_SCENE_STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS
_FULL_STATE = _SCENE_STATE | mujoco.mjtState.mjSTATE_WARMSTART
_PREFIXES = {1: ("",), 2: ("right_", "left_")}  # of the arms' proprioception fields, by how many there are

Picture = TypeVar("Picture", bound=NDArray[Any])


@engines.named("robosuite")
class RobosuiteSimulation:
    """A stock robosuite environment, built once.

    A task's option `env_name` says which; its other options go to `robosuite.make`. Where there are two arms, the first
    7 numbers of an action are the right one's, which is robosuite's first robot, the other 7 the left one's.
    """

    def __init__(self, task: Task, options: EnvOptions) -> None:
        self._task, self._options = task, options
        self._env = make_robosuite_env(options.robot, guest_names(task.objects.values()), **task.engine_options)
        self._xml = strip_visuals(self._env)
        # Only now: it imports robosuite, which `make_robosuite_env` keeps quiet.
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
        self._watches = {name: CameraGeometryCache(self._model, camera) for name, camera in self._cameras.items()}
        self._normal_force = NormalForce(self._model, self._world.finger_bodies())
        self._drawn = RenderModel(self._xml, options.rendering, own_model=bool(options.perturbation))
        self._draws: Renderer | None = None
        self._reward, self._succeeded, self._gripper_force_n = 0.0, False, 0.0
        self.action_dim = ACTION_DIM * len(self._arms)
        self.proprioception_fields = tuple(
            field for prefix in _PREFIXES[len(self._arms)] for field in arm_proprioception_fields(prefix)
        )

    @property
    def world(self) -> RobosuiteWorld:
        """The view that goal predicates and experts read."""
        return self._world

    @property
    def instruction(self) -> str:
        """The task's own instruction."""
        return self._task.instruction

    def reset(self, generator: np.random.Generator, disturb: Disturbance | None = None) -> None:
        """Place everything anew, as robosuite does, but from `generator`, and let `disturb` move it.

        robosuite draws from `env.rng`, which its placement samplers share, so that generator's state is what is set.
        """
        fresh = np.random.default_rng(generator.integers(2**63))
        self._env.rng.bit_generator.state = fresh.bit_generator.state
        self._fixtures.restore()
        self._env.reset()
        self._control.begin_episode()
        if disturb is not None:
            disturb(self._model, self.data)
        # robosuite builds its controllers before it opens the fingers, and they keep the arm's inertia from then for
        # the first step. They look again here, so that the first step, too, follows from the state alone.
        self._refresh()
        self._reward, self._succeeded = 0.0, False
        self._world.begin_episode()

    def step(self, action: FloatArray) -> None:
        """Advance one control step, as `robosuite`'s own `step` does, less the observations that it computes.

        Reward and success are taken where robosuite takes them; afterwards positions and contacts are brought up to
        date with the last substep, which robosuite leaves for the next step.
        """
        env, begins = self._env, range(0, self.action_dim, ACTION_DIM)
        native = [action[begin : begin + arm.action_dim] for arm, begin in zip(self._arms, begins, strict=True)]
        if self._hidden.tracks_contact_forces:
            for arm in self._arms:
                arm.feel()
        self._control.advance(np.concatenate(native))
        self._gripper_force_n = self._normal_force.largest_n(self.data)  # gone once contacts are new
        env.timestep += 1
        env.cur_time += env.control_timestep
        self._reward = float(env._post_action(action)[0])
        self._succeeded = bool(env._check_success())
        self._refresh()

    def images(self) -> dict[str, ImageArray]:
        """Render every camera; where there is none, no OpenGL is needed."""
        if not self._cameras:
            return {}
        renderer, data = self._renderer()
        return renderer.images(data, self._cameras)

    def depth(self) -> dict[str, NDArray[np.float32]]:
        """Render every camera's depth [m]."""
        return self._draw(Renderer.depth)

    def segmentation(self) -> dict[str, NDArray[np.uint8]]:
        """Render which segment each pixel of every camera shows."""
        return self._draw(partial(Renderer.segmentation, segment_of_geom=self._segment_of_geom))

    def cameras(self) -> dict[str, CameraGeometry]:
        """Return where every camera stands now."""
        return {name: watch.geometry(self.data) for name, watch in self._watches.items()}

    def proprioception(self) -> NDArray[np.float32]:
        """Return the robot's own state, the right arm's before the left one's."""
        return np.concatenate([arm.proprioception() for arm in self._arms], dtype=np.float32)

    def succeeded(self) -> bool:
        """Return robosuite's own verdict on the last step."""
        return self._succeeded

    def reward(self, succeeded: bool) -> float:
        """Return robosuite's own reward for the last step."""
        return self._reward

    def gripper_force_n(self) -> float:
        """Return the largest normal force at a contact of the grippers, at the end of the last step."""
        return self._gripper_force_n

    def state(self) -> NDArray[np.float64]:
        """Return time, qpos, qvel, the solver's warm start, each arm's memory, then what the model itself holds."""
        return self._read_state(_FULL_STATE)

    def scene_state(self) -> NDArray[np.float64]:
        """Return the state without the solver's warm start."""
        return self._read_state(_SCENE_STATE)

    def set_state(self, state: NDArray[np.float64]) -> None:
        """Restore what `state` returned."""
        size = mujoco.mj_stateSize(self._model, _FULL_STATE)
        ends = size + CONTROLLER_STATE_SIZE * np.arange(len(self._arms) + 1)
        mujoco.mj_setState(self._model, self.data, state[:size], _FULL_STATE)
        for arm, begin in zip(self._arms, ends[:-1], strict=True):
            arm.remember(state[begin : begin + CONTROLLER_STATE_SIZE])
        self._hidden.write(state[ends[-1] :])
        self._refresh()
        self._reward = float(self._env.reward(None))
        self._hidden.write(state[ends[-1] :])  # asking Wipe for its reward wipes what lies under the hand
        self._succeeded = bool(self._env._check_success())

    def models(self) -> tuple[mujoco.MjModel, ...]:
        """Return robosuite's model, and the one that is drawn where anything is."""
        return (self._model, self._drawn.model()) if self._cameras else (self._model,)

    def models_changed(self) -> None:
        """Read the items' shapes anew."""
        self._world = RobosuiteWorld(self._env, self._task.objects)

    def changes(self) -> tuple[NDArray[np.float64], ...]:
        """Return nothing: what robosuite itself changes is in the state."""
        return ()

    def item_bodies(self) -> Mapping[str, Iterable[int]]:
        """Return the bodies of the model that are each item's."""
        return self._world.item_bodies()

    def fixtures(self) -> tuple[Fixture, ...]:
        """Return bins, pegs, doors and dirt."""
        return self._fixtures.all()

    def fixture_pose(self, body: int) -> tuple[FloatArray, FloatArray]:
        """Return where a fixture stands: position (3,) and quaternion (4,)."""
        return self._fixtures.pose(body)

    def move_fixture(self, body: int, position_world: FloatArray, quat_wxyz: FloatArray) -> None:
        """Put a fixture somewhere, for this episode."""
        self._fixtures.move(body, position_world, quat_wxyz)

    def arm_qpos_addresses(self) -> NDArray[np.int64]:
        """Return where the joint positions of the arms stand in `qpos`."""
        found = [np.asarray(robot._ref_joint_pos_indexes, dtype=np.int64) for robot in self._env.robots]
        return np.concatenate(found)

    def model_xml(self) -> str:
        """Return the MJCF of the compiled model."""
        return self._xml

    def close(self) -> None:
        """Free robosuite's simulation, and let go of the renderer, which other environments may share."""
        self._draws = None
        self._env.close()

    def _read_state(self, parts: int) -> NDArray[np.float64]:
        physics = np.empty(mujoco.mj_stateSize(self._model, parts))
        mujoco.mj_getState(self._model, self.data, physics, parts)
        return np.concatenate([physics, *(arm.memory() for arm in self._arms), self._hidden.read()])

    def _refresh(self) -> None:
        """Compute positions and contacts anew, and let the controllers do so too at the next step."""
        mujoco.mj_fwdPosition(self._model, self.data)
        for arm in self._arms:
            arm.refresh_controllers()

    def _draw(self, draw: Callable[[Renderer, mujoco.MjData, str], Picture]) -> dict[str, Picture]:
        if not self._cameras:
            return {}
        renderer, data = self._renderer()
        return {name: draw(renderer, data, camera) for name, camera in self._cameras.items()}

    def _renderer(self) -> tuple[Renderer, mujoco.MjData]:
        model, data = self._drawn.at(self._model, self.data)
        if self._draws is None:
            self._draws = shared_renderer(model, self._options.image_size, self._options.rendering)
        return self._draws, data
