"""State of a robosuite environment beyond MuJoCo's: controllers of each arm, fixture poses and Wipe's markers."""

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.geometry import quat_wxyz_to_axis_angle
from vla_bench.core.types import FloatArray
from vla_bench.envs.simulation import Fixture

_ARM = "right"  # robosuite's name of the arm of a robot with one arm
FINGERS, JOINTS = 2, 7  # of an arm, a Panda
CONTROLLER_STATE_SIZE = FINGERS + JOINTS  # of `Arm.controller_state`
_PEGS = ("peg1", "peg2")
_BINS = ("bin1", "bin2")  # robosuite places objects in them by `bin1_pos`, `bin2_pos`, along the world's axes


class Arm:
    """A robot with one arm, and its controllers. A gripper that cannot move ignores the last number of an action."""

    def __init__(self, robot: Any, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._robot, self._model, self._data = robot, model, data
        self._hand: int = model.body(robot.robot_model.eef_name[_ARM]).id
        self._action_dim = int(robot.action_dim)

    @property
    def action_dim(self) -> int:
        """The size of robosuite's action: 7, or 6 if the gripper cannot move."""
        return self._action_dim

    def record_contact_force(self) -> None:
        """Record force and torque at the hand, as robosuite does every control step; Wipe's reward reads them."""
        force, torque = self._robot.ee_force[_ARM], self._robot.ee_torque[_ARM]
        self._robot.recent_ee_forcetorques[_ARM].push(np.concatenate([force, torque]))

    def refresh_controllers(self) -> None:
        """Make the controllers recompute everything at the next step."""
        for controller in self._robot.part_controllers.values():
            controller.new_update = True

    def proprioception(self) -> FloatArray:
        """Return the arm's state in the order of `arm_proprioception_fields`; missing fingers have position 0."""
        robot, data = self._robot, self._data
        end_effector, quat = robot.eef_site_id[_ARM], np.zeros(4)
        mujoco.mju_mat2Quat(quat, data.site_xmat[end_effector])
        fingers = np.zeros(FINGERS)
        if robot.gripper[_ARM].dof:
            fingers[:] = data.qpos[robot._ref_gripper_joint_pos_indexes[_ARM]]
        parts = (
            data.site_xpos[end_effector],
            quat_wxyz_to_axis_angle(quat),
            fingers,
            data.qpos[robot._ref_joint_pos_indexes],
            data.qvel[robot._ref_joint_vel_indexes],
            quat_wxyz_to_axis_angle(data.xquat[self._hand]),
        )
        return np.concatenate(parts)

    def controller_state(self) -> NDArray[np.float64]:
        """Return the controllers' state: the fingers' command (2), then the posture of the null space (7)."""
        controller = self._robot.part_controllers[_ARM]
        return np.concatenate([np.resize(self._gripper.current_action, FINGERS), controller.initial_joint])

    def set_controller_state(self, state: NDArray[np.float64]) -> None:
        """Restore what `controller_state` returned."""
        self._gripper.current_action = state[:FINGERS].copy()
        self._robot.part_controllers[_ARM].initial_joint = state[FINGERS:].copy()

    @property
    def _gripper(self) -> Any:
        return self._robot.gripper[_ARM]


class HiddenState:
    """State outside MuJoCo's: fixtures that a reset moves in the model and, in Wipe, wiped markers and forces."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._model: mujoco.MjModel = env.sim.model._model
        self._markers: list[Any] = list(getattr(env.model.mujoco_arena, "markers", ()))
        fixtures = [thing.root_body for thing in env.model.mujoco_objects if not _moves_freely(self._model, thing)]
        self._rotated = [self._model.body(body).id for body in fixtures]  # markers are only shifted
        self._moved = self._rotated + [self._model.body(marker.root_body).id for marker in self._markers]
        self._marker_geoms = [self._model.geom(marker.visual_geoms[0]).id for marker in self._markers]

    @property
    def tracks_contact_forces(self) -> bool:
        """Return whether the reward reads contact forces: only Wipe's does."""
        return bool(self._markers)

    def read(self) -> NDArray[np.float64]:
        """Return positions (N, 3), quaternions (M, 4), 1 for each wiped marker, and forces, all as one vector."""
        wiped = [float(marker in self._env.wiped_markers) for marker in self._markers]
        positions, quats = self._model.body_pos[self._moved], self._model.body_quat[self._rotated]
        return np.concatenate([positions.ravel(), quats.ravel(), wiped, *(self._forces() if self._markers else ())])

    def write(self, state: NDArray[np.float64]) -> None:
        """Restore what `read` returned."""
        ends = np.cumsum([3 * len(self._moved), 4 * len(self._rotated), len(self._markers)])
        positions, quats, wiped, forces = np.split(state, ends)
        self._model.body_pos[self._moved] = positions.reshape(-1, 3)
        self._model.body_quat[self._rotated] = quats.reshape(-1, 4)
        if self._markers:
            self._env.wiped_markers = [
                marker for marker, is_wiped in zip(self._markers, wiped, strict=True) if is_wiped
            ]
            self._model.geom_rgba[self._marker_geoms, 3] = 1.0 - wiped
            self._set_forces(forces)

    def _forces(self) -> tuple[NDArray[np.float64], ...]:
        """Return the tool's force and torque at the last step (6), their first values (3 and 3) and all sensor data."""
        env, robot = self._env, self._env.robots[0]
        last = robot.recent_ee_forcetorques[_ARM].current
        return last, env.ee_force_bias[_ARM], env.ee_torque_bias[_ARM], env.sim.data._data.sensordata

    def _set_forces(self, forces: NDArray[np.float64]) -> None:
        env, robot = self._env, self._env.robots[0]
        last, force, torque, sensors = np.split(forces, (6, 9, 12))
        robot.recent_ee_forcetorques[_ARM].push(last)
        env.ee_force_bias, env.ee_torque_bias = {_ARM: force}, {_ARM: torque}
        env.sim.data._data.sensordata[:] = sensors


class Fixtures:
    """Bins, pegs, doors and Wipe's dirt: moved in the compiled model, and in robosuite's own attributes."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._model: mujoco.MjModel = env.sim.model._model
        self._bins = {name: np.array(getattr(env, f"{name}_pos")) for name in _BINS if hasattr(env, f"{name}_pos")}

    def restore(self) -> None:
        """Restore robosuite's own positions of the bins before a reset."""
        for name, position in self._bins.items():
            setattr(self._env, f"{name}_pos", position.copy())

    def all(self) -> tuple[Fixture, ...]:
        """Return every fixture."""
        model, env = self._model, self._env
        bodies = {model.body(body).name: body for body in range(model.nbody)}
        markers = [marker.root_body for marker in getattr(env.model.mujoco_arena, "markers", ())]
        things = [thing.root_body for thing in env.model.mujoco_objects]
        names = [name for name in (*things, *markers, *_PEGS) if name in bodies and not model.body_jntnum[bodies[name]]]
        bins = [Fixture(bodies[name], bin=True) for name in self._bins]
        return (*(Fixture(bodies[name]) for name in names), *bins)

    def pose(self, body: int) -> tuple[FloatArray, FloatArray]:
        """Return the position (3,) and quaternion (4,) of a fixture."""
        return self._model.body_pos[body].copy(), self._model.body_quat[body].copy()

    def move(self, body: int, position_world: FloatArray, quat_wxyz: FloatArray) -> None:
        """Move a fixture."""
        name, shift = self._model.body(body).name, position_world - self._model.body_pos[body]
        self._model.body_pos[body], self._model.body_quat[body] = position_world, quat_wxyz
        if name in self._bins:
            setattr(self._env, f"{name}_pos", np.array(position_world))
        if name == _BINS[1]:
            self._env.target_bin_placements += shift


def _moves_freely(model: mujoco.MjModel, thing: Any) -> bool:
    joint = model.body_jntadr[model.body(thing.root_body).id]
    return bool(joint >= 0 and model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE)
