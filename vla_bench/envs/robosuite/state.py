"""State of a robosuite environment beyond MuJoCo's: controllers of each arm, fixture poses and Wipe's markers."""

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.geometry import quat_wxyz_to_axis_angle
from vla_bench.core.types import FloatArray, ProprioceptionField
from vla_bench.envs.simulation import Fixture

# ~ One arm of a robosuite environment: its controller, what that remembers, and what the arm feels.

_RIGHT = "right"  # what robosuite calls the arm of a robot that has one
_FINGERS, _JOINTS = 2, 7


class Arm:
    """A robot with one arm. Its action has 7 numbers; a gripper that cannot move ignores the last."""

    def __init__(self, robot: Any, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._robot, self._model, self._data = robot, model, data
        self._hand: int = model.body(robot.robot_model.eef_name[_RIGHT]).id
        self._action_dim = int(robot.action_dim)

    @property
    def action_dim(self) -> int:
        """How many numbers of an action robosuite takes: one less than ours where the gripper cannot move."""
        return self._action_dim

    def feel(self) -> None:
        """Note force and torque at the hand, as robosuite does once a control step: Wipe's reward asks for them."""
        force, torque = self._robot.ee_force[_RIGHT], self._robot.ee_torque[_RIGHT]
        self._robot.recent_ee_forcetorques[_RIGHT].push(np.concatenate([force, torque]))

    def refresh_controllers(self) -> None:
        """Let the controllers compute everything anew at the next step."""
        for controller in self._robot.part_controllers.values():
            controller.new_update = True

    def proprioception(self) -> FloatArray:
        """Return the arm's own state in the order of `arm_proprioception_fields`; fingers that there are not stand at 0."""
        robot, data = self._robot, self._data
        end_effector, quat = robot.eef_site_id[_RIGHT], np.zeros(4)
        mujoco.mju_mat2Quat(quat, data.site_xmat[end_effector])
        fingers = np.zeros(_FINGERS)
        if robot.gripper[_RIGHT].dof:
            fingers[:] = data.qpos[robot._ref_gripper_joint_pos_indexes[_RIGHT]]
        parts = (
            data.site_xpos[end_effector],
            quat_wxyz_to_axis_angle(quat),
            fingers,
            data.qpos[robot._ref_joint_pos_indexes],
            data.qvel[robot._ref_joint_vel_indexes],
            quat_wxyz_to_axis_angle(data.xquat[self._hand]),
        )
        return np.concatenate(parts)

    def memory(self) -> NDArray[np.float64]:
        """Return what the controllers remember from step to step: fingers (2), then posture (7)."""
        controller = self._robot.part_controllers[_RIGHT]
        return np.concatenate([np.resize(self._gripper.current_action, _FINGERS), controller.initial_joint])

    def remember(self, memory: NDArray[np.float64]) -> None:
        """Restore what `memory` returned."""
        self._gripper.current_action = memory[:_FINGERS].copy()
        self._robot.part_controllers[_RIGHT].initial_joint = memory[_FINGERS:].copy()

    @property
    def _gripper(self) -> Any:
        return self._robot.gripper[_RIGHT]


CONTROLLER_STATE_SIZE = _FINGERS + _JOINTS  # numbers that `Arm.memory` returns


def arm_proprioception_fields(prefix: str = "") -> tuple[ProprioceptionField, ...]:
    """Return the fields of one arm's proprioception; `prefix`, such as "left_", tells two arms apart."""
    single = (
        ProprioceptionField("end_effector_position", 3, "m, world frame, point between the fingertips"),
        ProprioceptionField("end_effector_axis_angle", 3, "rad, world frame, robosuite's sign convention"),
        ProprioceptionField("gripper_position", _FINGERS, "m, finger joints"),
        ProprioceptionField("joint_positions", _JOINTS, "rad"),
        ProprioceptionField("joint_velocities", _JOINTS, "rad/s"),
        ProprioceptionField("hand_axis_angle", 3, "rad, world frame, the body that holds the gripper: LIBERO's state"),
    )
    return tuple(ProprioceptionField(f"{prefix}{field.name}", field.size, field.description) for field in single)


# ~ What robosuite keeps beside MuJoCo's own state: in the compiled model, and what Wipe's reward remembers.

_SINGLE_ARM = "right"  # what robosuite calls the arm of a robot that has one


class HiddenState:
    """Poses of the fixtures that a reset moves; of Wipe, which markers are wiped away, and forces for its reward."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._model: mujoco.MjModel = env.sim.model._model
        self._markers: list[Any] = list(getattr(env.model.mujoco_arena, "markers", ()))
        fixtures = [thing.root_body for thing in env.model.mujoco_objects if not _moves_freely(self._model, thing)]
        self._turning = [self._model.body(body).id for body in fixtures]  # the markers are only moved
        self._moving = self._turning + [self._model.body(marker.root_body).id for marker in self._markers]
        self._marker_geoms = [self._model.geom(marker.visual_geoms[0]).id for marker in self._markers]

    @property
    def tracks_contact_forces(self) -> bool:
        """Whether the reward asks what the tool has felt: only Wipe's does."""
        return bool(self._markers)

    def read(self) -> NDArray[np.float64]:
        """Return positions (N, 3), quaternions (M, 4), 1 for each marker that is wiped, and forces, all in one row."""
        wiped = [float(marker in self._env.wiped_markers) for marker in self._markers]
        moved, turned = self._model.body_pos[self._moving], self._model.body_quat[self._turning]
        return np.concatenate([moved.ravel(), turned.ravel(), wiped, *(self._forces() if self._markers else ())])

    def write(self, state: NDArray[np.float64]) -> None:
        """Restore what `read` returned."""
        ends = np.cumsum([3 * len(self._moving), 4 * len(self._turning), len(self._markers)])
        moved, turned, wiped, forces = np.split(state, ends)
        self._model.body_pos[self._moving] = moved.reshape(-1, 3)
        self._model.body_quat[self._turning] = turned.reshape(-1, 4)
        if self._markers:
            self._env.wiped_markers = [marker for marker, gone in zip(self._markers, wiped, strict=True) if gone]
            self._model.geom_rgba[self._marker_geoms, 3] = 1.0 - wiped
            self._feel(forces)

    def _forces(self) -> tuple[NDArray[np.float64], ...]:
        """Return what the tool felt when the step began (6) and at first (3 and 3), and what all sensors say now."""
        env, robot = self._env, self._env.robots[0]
        felt = robot.recent_ee_forcetorques[_SINGLE_ARM].current
        return felt, env.ee_force_bias[_SINGLE_ARM], env.ee_torque_bias[_SINGLE_ARM], env.sim.data._data.sensordata

    def _feel(self, forces: NDArray[np.float64]) -> None:
        env, robot = self._env, self._env.robots[0]
        felt, force, torque, sensors = np.split(forces, (6, 9, 12))
        robot.recent_ee_forcetorques[_SINGLE_ARM].push(felt)
        env.ee_force_bias, env.ee_torque_bias = {_SINGLE_ARM: force}, {_SINGLE_ARM: torque}
        env.sim.data._data.sensordata[:] = sensors


def _moves_freely(model: mujoco.MjModel, thing: Any) -> bool:
    joint = model.body_jntadr[model.body(thing.root_body).id]
    return bool(joint >= 0 and model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE)


# ~ What stands fixed in robosuite's scenes and may be put elsewhere: bins, pegs, doors, and Wipe's dirt.

_PEGS = ("peg1", "peg2")
_BINS = ("bin1", "bin2")  # robosuite places things in them by `bin1_pos`, `bin2_pos`, along the world's axes


class Fixtures:
    """Moves fixtures in the compiled model, and tells robosuite where it looks them up elsewhere."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._model: mujoco.MjModel = env.sim.model._model
        self._stock = {name: np.array(getattr(env, f"{name}_pos")) for name in _BINS if hasattr(env, f"{name}_pos")}

    def restore(self) -> None:
        """Let the next reset begin from where robosuite has its bins."""
        for name, position in self._stock.items():
            setattr(self._env, f"{name}_pos", position.copy())

    def all(self) -> tuple[Fixture, ...]:
        """Return every fixture."""
        model, env = self._model, self._env
        here = {model.body(body).name: body for body in range(model.nbody)}
        markers = [marker.root_body for marker in getattr(env.model.mujoco_arena, "markers", ())]
        things = [thing.root_body for thing in env.model.mujoco_objects]
        turning = [name for name in (*things, *markers, *_PEGS) if name in here and not model.body_jntnum[here[name]]]
        bins = [Fixture(here[name], bin=True) for name in self._stock]
        return (*(Fixture(here[name]) for name in turning), *bins)

    def pose(self, body: int) -> tuple[FloatArray, FloatArray]:
        """Return where a fixture stands: position (3,) and quaternion (4,)."""
        return self._model.body_pos[body].copy(), self._model.body_quat[body].copy()

    def move(self, body: int, position_world: FloatArray, quat_wxyz: FloatArray) -> None:
        """Put a fixture somewhere."""
        name, shift = self._model.body(body).name, position_world - self._model.body_pos[body]
        self._model.body_pos[body], self._model.body_quat[body] = position_world, quat_wxyz
        if name in self._stock:
            setattr(self._env, f"{name}_pos", np.array(position_world))
        if name == _BINS[1]:
            self._env.target_bin_placements += shift
