"""The simulation of a tabletop task: reset, control steps, observations and state."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.env_options import EnvOptions
from vla_bench.core.geometry import CameraGeometry, axis_angle_to_quat_wxyz, quat_wxyz_to_axis_angle
from vla_bench.core.types import ACTION_DIM, CONTROL_HZ, FloatArray, ImageArray, still_action
from vla_bench.envs.control.tabletop import OperationalSpaceController
from vla_bench.envs.descriptions import Region
from vla_bench.envs.engines import engines
from vla_bench.envs.rendering.renderer import Renderer, shared_renderer
from vla_bench.envs.sensors import CameraGeometryCache, NormalForce, arm_proprioception_fields, geom_segments
from vla_bench.envs.simulation import Disturbance, Fixture
from vla_bench.envs.tabletop.placement import sample_places
from vla_bench.envs.tabletop.robot_model import GRIPPER_PREFIX
from vla_bench.envs.tabletop.scene import ROBOT_PREFIX, CompiledScene, compile_scene, horizontal_radius
from vla_bench.envs.tabletop.world import GripperInModel, MujocoWorld, articulated_joints, joint_starts
from vla_bench.tasks.initial_conditions import Footprint, Place, initial_relations
from vla_bench.tasks.task import Relation, Task

_ITERATIONS = 40  # of inverse kinematics
_DAMPING = 0.02
_STEP_LIMIT_RAD = 0.4

_FULL_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_SCENE_STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS | mujoco.mjtState.mjSTATE_USER  # without the solver's warm start
_SETTLE_STEPS = 5  # control steps without motion after placement; part of the reset, not of the episode
_DROP_HEIGHT_M = 0.0005


def move_arm_to_pose(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    site: int,
    joints: FloatArray,
    position_world: FloatArray,
    yaw_rad: float,
) -> None:
    """Move the arm in `data` so that `site` points down at `position_world` with its x axis along `yaw_rad`.

    Used for still scenes: damped least squares on the kinematics, without an update of velocities and contacts.
    `joints` are ids.
    """
    qpos, dof = model.jnt_qposadr[joints], model.jnt_dofadr[joints]
    low, high = model.jnt_range[joints].T
    jacobian_position, jacobian_rotation = np.zeros((3, model.nv)), np.zeros((3, model.nv))
    x_axis, z_axis = np.array([np.cos(yaw_rad), np.sin(yaw_rad), 0.0]), np.array([0.0, 0.0, -1.0])
    wanted = np.stack([x_axis, np.cross(z_axis, x_axis), z_axis], axis=1)
    for _ in range(_ITERATIONS):
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        matrix = data.site_xmat[site].reshape(3, 3)
        turn = 0.5 * sum(np.cross(matrix[:, k], wanted[:, k]) for k in range(3))
        error = np.concatenate([position_world - data.site_xpos[site], turn])
        if np.abs(error).max() < 1e-3:
            return
        mujoco.mj_jacSite(model, data, jacobian_position, jacobian_rotation, site)
        jacobian = np.concatenate([jacobian_position[:, dof], jacobian_rotation[:, dof]])
        step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + _DAMPING**2 * np.eye(6), error)
        data.qpos[qpos] = np.clip(data.qpos[qpos] + np.clip(step, -_STEP_LIMIT_RAD, _STEP_LIMIT_RAD), low, high)


@engines.named("tabletop")
class TabletopSimulation:
    """A compiled scene with its state. Simulations share the compiled model and the renderer, but not the state."""

    def __init__(self, task: Task, options: EnvOptions) -> None:
        self._task, self._options = task, options
        self._compiled = compile_scene(task.scene, options.robot, task.objects, options.rendering)
        if options.perturb:  # perturbations modify the model, so it must not be shared
            self._compiled = replace(self._compiled, model=copy(self._compiled.model))
        self._model = model = self._compiled.model
        self.data = mujoco.MjData(model)
        self._shared_renderer: Renderer | None = None
        arm, gripper = self._compiled.robot.arm, self._compiled.robot.gripper
        tool = ROBOT_PREFIX + GRIPPER_PREFIX
        joints = [model.joint(ROBOT_PREFIX + name).id for name in arm.joints]
        self._joints = np.array(joints)
        self._joint_qpos, self._joint_dof = model.jnt_qposadr[joints], model.jnt_dofadr[joints]
        fingers = [model.joint(tool + name).id for name in gripper.joints]
        self._finger_qpos = model.jnt_qposadr[fingers]
        self._gripper_actuators = [model.actuator(tool + name).id for name in gripper.actuators]
        self._fingers_open, self._fingers_closed = np.array(gripper.joints_open), np.array(gripper.joints_closed)
        self._target_open, target_closed = np.array(gripper.targets_open), np.array(gripper.targets_closed)
        self._target_travel = (target_closed - self._target_open) / gripper.closing_steps  # of one control step
        self._target_low = np.minimum(self._target_open, target_closed)
        self._target_high = np.maximum(self._target_open, target_closed)
        self._site = site = model.site(tool + gripper.end_effector.site).id
        actuators = [model.actuator(ROBOT_PREFIX + name).id for name in arm.actuators]
        self._hand_body = model.body(ROBOT_PREFIX + arm.mount_body).id
        self._controller = OperationalSpaceController(model, self.data, site, joints, actuators)
        self._gripper_in_model = GripperInModel.of(model, gripper, tool)
        self._world = MujocoWorld(self._compiled, self.data, self._gripper_in_model)
        self._cameras = {name: _camera_in_model(name, self._compiled) for name in options.cameras}
        self._camera_geometry = {name: CameraGeometryCache(model, camera) for name, camera in self._cameras.items()}
        self.footprints = self._footprints()
        robot = model.body_rootid[self._hand_body]
        self._segment_of_geom = geom_segments(model, (int(robot),), self._world.item_bodies())
        self._normal_force, self._gripper_force_n = NormalForce(model, self._gripper_in_model.bodies), 0.0
        self._substeps = round(1.0 / CONTROL_HZ / model.opt.timestep)
        slides = (model.jnt_type[fingers] == mujoco.mjtJoint.mjJNT_SLIDE).all()
        self.proprioception_fields = arm_proprioception_fields(
            len(fingers), len(joints), finger_unit="m" if slides else "rad"
        )
        self.action_dim = ACTION_DIM

    @property
    def world(self) -> MujocoWorld:
        """The view that goal predicates and experts read."""
        return self._world

    @property
    def instruction(self) -> str:
        """The task's own instruction."""
        return self._task.instruction

    def reset(self, generator: np.random.Generator, disturb: Disturbance | None = None) -> None:
        """Place all objects, call `disturb`, and let the objects settle."""
        regions = self._compiled.scene.regions
        places = sample_places(self._task.initial, regions, self.footprints, generator)
        arm = self._compiled.robot.arm
        noise = generator.normal(0.0, arm.start_noise_rad, len(arm.start_rad))
        openings = self._sample_openings(generator)
        self.arrange(places, np.asarray(arm.start_rad) + noise, openings)
        if disturb is not None:
            disturb(self._model, self.data)
            mujoco.mj_step1(self._model, self.data)
        for _ in range(_SETTLE_STEPS):
            self.step(still_action())
        self._world.begin_episode()

    def arrange(
        self, places: dict[str, Place], joint_positions: FloatArray, openings: Mapping[int, float] | None = None
    ) -> None:
        """Place objects upright at `places` and the arm at `joint_positions` [rad], gripper open, all at rest.

        `openings` maps indices in `qpos` to positions of fixtures' joints; the other joints are closed.
        """
        mujoco.mj_resetData(self._model, self.data)
        for item, place in places.items():
            height_m = self._compiled.scene.surface_height_m - self._world.geometry(item).bottom_m
            height_m += place.height_m
            self._place(
                item, np.array([*place.position, height_m]), axis_angle_to_quat_wxyz(np.array([0, 0, place.yaw_rad]))
            )
        for address, position in (openings or {}).items():
            self.data.qpos[address] = position
        self.data.qpos[self._joint_qpos] = joint_positions
        self.data.qpos[self._finger_qpos] = self._fingers_open
        self.data.ctrl[self._gripper_actuators] = self._target_open
        self._controller.hold_posture(np.asarray(self._compiled.robot.arm.start_rad))
        mujoco.mj_step1(self._model, self.data)

    def arrange_at_random(
        self, relations: Sequence[Relation], regions: Mapping[str, Region], generator: np.random.Generator
    ) -> None:
        """Place all objects by `relations` in `regions`, the arm at its start posture; for still scenes."""
        places = sample_places(relations, regions, self.footprints, generator)
        self.arrange(places, np.asarray(self._compiled.robot.arm.start_rad))

    def move_item(self, item: str, position_world: FloatArray) -> None:
        """Move an object's origin without physics; for still scenes."""
        address = self._model.joint(f"{item}/free").qposadr[0]
        self.data.qpos[address : address + 3] = position_world
        mujoco.mj_step1(self._model, self.data)

    def move_gripper_to(self, position_world: FloatArray, yaw_rad: float, opening: float) -> None:
        """Move the gripper without physics, `opening` from 0 (closed) to 1; for still scenes."""
        move_arm_to_pose(self._model, self.data, self._site, self._joints, position_world, yaw_rad)
        self.data.qpos[self._finger_qpos] = self._fingers_closed + opening * (self._fingers_open - self._fingers_closed)
        mujoco.mj_step1(self._model, self.data)

    @property
    def compiled(self) -> CompiledScene:
        """The compiled scene with its descriptions."""
        return self._compiled

    def step(self, action: FloatArray) -> None:
        """Advance one control step. Positions, velocities and contacts are up to date afterwards."""
        self._controller.set_goal(action[:6])
        self._move_gripper(float(action[6]))
        self._controller.advance(self._substeps)
        self._gripper_force_n = self._normal_force.largest_n(self.data)  # before `mj_step1` recomputes the contacts
        mujoco.mj_step1(self._model, self.data)

    def images(self) -> dict[str, ImageArray]:
        """Render every camera; without cameras, no OpenGL is needed."""
        return self._renderer().images(self.data, self._cameras) if self._cameras else {}

    def depth(self) -> dict[str, NDArray[np.float32]]:
        """Render every camera's depth [m]."""
        return {name: self._renderer().depth(self.data, camera) for name, camera in self._cameras.items()}

    def segmentation(self) -> dict[str, NDArray[np.uint8]]:
        """Render every camera's segmentation."""
        renderer, of_geom = self._renderer(), self._segment_of_geom
        return {name: renderer.segmentation(self.data, camera, of_geom) for name, camera in self._cameras.items()}

    def cameras(self) -> dict[str, CameraGeometry]:
        """Return the current geometry of every camera."""
        return {name: one.geometry(self.data) for name, one in self._camera_geometry.items()}

    def proprioception(self) -> NDArray[np.float32]:
        """Return the robot's proprioception."""
        parts = (
            self._world.end_effector_position_world(),
            quat_wxyz_to_axis_angle(self._world.end_effector_quat_wxyz_world()),
            self.data.qpos[self._finger_qpos],
            self.data.qpos[self._joint_qpos],
            self.data.qvel[self._joint_dof],
            quat_wxyz_to_axis_angle(self.data.xquat[self._hand_body]),
        )
        return np.concatenate(parts, dtype=np.float32)

    def succeeded(self) -> bool:
        """Return whether every goal currently holds."""
        return all(goal.holds(self._world) for goal in self._task.goal)

    def reward(self, succeeded: bool) -> float:
        """Return 1 on the step that completes the task, else 0."""
        return float(succeeded)

    def gripper_force_n(self) -> float:
        """Return the largest normal force at a contact of the gripper at the end of the last step [N]."""
        return self._gripper_force_n

    def state(self) -> NDArray[np.float64]:
        """Return the whole simulation state: everything that the next steps depend on."""
        return self._read_state(_FULL_STATE)

    def scene_state(self) -> NDArray[np.float64]:
        """Return the state without the solver's warm start."""
        return self._read_state(_SCENE_STATE)

    def set_state(self, state: NDArray[np.float64]) -> None:
        """Restore a state that `state` returned."""
        mujoco.mj_setState(self._model, self.data, state, _FULL_STATE)
        mujoco.mj_step1(self._model, self.data)

    def models(self) -> tuple[mujoco.MjModel, ...]:
        """Return the model, which is both simulated and rendered."""
        return (self._model,)

    def models_changed(self) -> None:
        """Update the items' shapes."""
        self._world = MujocoWorld(self._compiled, self.data, self._gripper_in_model)
        self.footprints = self._footprints()

    def changes(self) -> tuple[NDArray[np.float64], ...]:
        """Return nothing: the models are as compiled."""
        return ()

    def item_bodies(self) -> dict[str, tuple[int, ...]]:
        """Return the model's bodies of each item."""
        return self._world.item_bodies()

    def fixtures(self) -> tuple[Fixture, ...]:
        """Return the fixed objects, whose poses are part of the state."""
        return tuple(Fixture(int(body)) for body in np.flatnonzero(self._model.body_mocapid >= 0))

    def fixture_pose(self, body: int) -> tuple[FloatArray, FloatArray]:
        """Return the position (3,) and quaternion (4,) of a fixture."""
        mocap = self._model.body_mocapid[body]
        return self.data.mocap_pos[mocap].copy(), self.data.mocap_quat[mocap].copy()

    def move_fixture(self, body: int, position_world: FloatArray, quat_wxyz: FloatArray) -> None:
        """Move a fixture, for this episode."""
        mocap = self._model.body_mocapid[body]
        self.data.mocap_pos[mocap], self.data.mocap_quat[mocap] = position_world, quat_wxyz

    def arm_qpos_addresses(self) -> NDArray[np.int64]:
        """Return the indices of the arm's joint positions in `qpos`."""
        addresses: NDArray[np.int64] = self._joint_qpos.astype(np.int64)
        return addresses

    def model_xml(self) -> str:
        """Return the MJCF of the compiled model."""
        return self._compiled.xml

    def close(self) -> None:
        """Release the reference to the renderer, which other environments may share."""
        self._shared_renderer = None

    def _read_state(self, parts: int) -> NDArray[np.float64]:
        state = np.empty(mujoco.mj_stateSize(self._model, parts))
        mujoco.mj_getState(self._model, self.data, state, parts)
        return state

    def _footprints(self) -> dict[str, Footprint]:
        return {item: self._footprint(item, asset) for item, asset in self._task.objects.items()}

    def _footprint(self, item: str, asset: str) -> Footprint:
        geometry = self._world.geometry(item)
        return Footprint(horizontal_radius(self._model, item), asset, geometry.support_m - geometry.bottom_m)

    def _place(self, item: str, position_world: FloatArray, quat_wxyz: FloatArray) -> None:
        body = self._model.body(item)
        mocap = body.mocapid[0]
        if mocap >= 0:
            self.data.mocap_pos[mocap], self.data.mocap_quat[mocap] = position_world, quat_wxyz
            return
        address = self._model.joint(f"{item}/free").qposadr[0]
        self.data.qpos[address : address + 3] = position_world
        self.data.qpos[address + 2] += _DROP_HEIGHT_M
        self.data.qpos[address + 3 : address + 7] = quat_wxyz

    def _sample_openings(self, generator: np.random.Generator) -> dict[int, float]:
        """Sample the joint positions that the task's initial relations require, by their index in `qpos`."""
        return {
            joint.qpos: joint_starts[relation.name](joint, generator)
            for relation in self._task.initial
            if initial_relations[relation.name].arranges_joint
            for joint in articulated_joints(self._compiled, relation.arguments[0])
        }

    def _renderer(self) -> Renderer:
        if self._shared_renderer is None:
            self._shared_renderer = shared_renderer(self._model, self._options.image_size, self._options.rendering)
        return self._shared_renderer

    def _move_gripper(self, command: float) -> None:
        # As in robosuite's Panda gripper, only the sign counts: each control step moves the target by a fixed amount.
        sign = float(command > 0) - float(command < 0)
        target = self.data.ctrl[self._gripper_actuators] + sign * self._target_travel
        self.data.ctrl[self._gripper_actuators] = np.minimum(np.maximum(target, self._target_low), self._target_high)


def _camera_in_model(name: str, compiled: CompiledScene) -> str:
    return ROBOT_PREFIX + compiled.robot.arm.wrist_camera if name == "wrist" else name
