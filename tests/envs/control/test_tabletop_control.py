"""Operational-space control of the tabletop engine: commanded poses are reached, torques follow the formula."""

import mujoco
import numpy as np
import pytest

from vla_bench.core.env_options import EnvOptions
from vla_bench.core.geometry import axis_angle_to_quat_wxyz, quat_wxyz_to_matrix
from vla_bench.core.types import MAX_DELTA_POSITION_M, MAX_DELTA_ROTATION_RAD, FloatArray
from vla_bench.envs.control.tabletop import OperationalSpaceController
from vla_bench.envs.descriptions import describe_robot
from vla_bench.envs.tabletop.simulation import TabletopSimulation
from vla_bench.tasks import get_task

_JOINTS = range(1, 8)
_START_RAD = np.array(describe_robot("panda").arm.start_rad)


@pytest.fixture(scope="module")
def simulation() -> TabletopSimulation:
    return TabletopSimulation(get_task("tabletop_pick.pick_red_cube"), EnvOptions(image_size=32))


@pytest.fixture
def data(simulation: TabletopSimulation) -> mujoco.MjData:
    simulation.reset(np.random.default_rng(1))
    return simulation.data


class Arm:
    """The arm's parts in the model, found by their names alone."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self.model = model
        self.site = model.site("robot_gripper_grip_site").id
        self.joints = [model.joint(f"robot_joint{number}").id for number in _JOINTS]
        self.actuators = [model.actuator(f"robot_torq_j{number}").id for number in _JOINTS]
        self.controller = OperationalSpaceController(model, data, self.site, self.joints, self.actuators)
        self.controller.hold_posture(_START_RAD)

    def pose(self, data: mujoco.MjData) -> tuple[FloatArray, FloatArray]:
        return data.site_xpos[self.site].copy(), data.site_xmat[self.site].reshape(3, 3).copy()

    def go(self, data: mujoco.MjData, delta: FloatArray, seconds: float) -> None:
        self.controller.set_goal(delta)
        for _ in range(round(seconds / self.model.opt.timestep)):
            self.controller.apply()
            mujoco.mj_step2(self.model, data)
            mujoco.mj_step1(self.model, data)


@pytest.fixture(scope="module")
def arm(simulation: TabletopSimulation) -> Arm:
    return Arm(simulation.compiled.model, simulation.data)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("command", [1.0, -0.5])
def test_the_end_effector_reaches_the_commanded_position(
    arm: Arm, data: mujoco.MjData, axis: int, command: float
) -> None:
    position, matrix = arm.pose(data)
    delta = np.zeros(6)
    delta[axis] = command
    arm.go(data, delta, seconds=1.0)
    after, matrix_after = arm.pose(data)
    assert np.allclose(after - position, MAX_DELTA_POSITION_M * delta[:3], atol=0.001)
    assert np.allclose(matrix_after, matrix, atol=0.01)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("command", [0.6, -0.6])
def test_the_end_effector_turns_about_the_commanded_axis(
    arm: Arm, data: mujoco.MjData, axis: int, command: float
) -> None:
    position, matrix = arm.pose(data)
    delta = np.zeros(6)
    delta[3 + axis] = command
    arm.go(data, delta, seconds=1.5)
    after, matrix_after = arm.pose(data)
    turn = quat_wxyz_to_matrix(axis_angle_to_quat_wxyz(MAX_DELTA_ROTATION_RAD * delta[3:]))
    assert np.allclose(matrix_after, turn @ matrix, atol=0.01)  # in the world frame: from the left
    assert np.allclose(after, position, atol=0.002)


def test_commands_beyond_the_range_are_clipped(arm: Arm, data: mujoco.MjData) -> None:
    position, _ = arm.pose(data)
    arm.go(data, np.array([3.0, 0, 0, 0, 0, 0]), seconds=1.0)
    assert np.allclose(arm.pose(data)[0] - position, [MAX_DELTA_POSITION_M, 0, 0], atol=0.001)


def test_the_arm_stands_still_under_a_zero_action(simulation: TabletopSimulation, data: mujoco.MjData) -> None:
    position = simulation.world.end_effector_position_world().copy()
    for _ in range(40):
        simulation.step(np.array([0, 0, 0, 0, 0, 0, -1.0]))
    assert np.linalg.norm(simulation.world.end_effector_position_world() - position) < 0.005


def _torque(arm: Arm, data: mujoco.MjData, goal_position: FloatArray, goal_matrix: FloatArray) -> FloatArray:
    """Return the torques by the formula, one line a term, in plain numpy."""
    model = arm.model
    position_rows, rotation_rows, mass = (
        np.zeros((3, model.nv)),
        np.zeros((3, model.nv)),
        np.zeros((model.nv, model.nv)),
    )
    mujoco.mj_jacSite(model, data, position_rows, rotation_rows, arm.site)
    mujoco.mj_fullM(model, mass, data.qM)
    qpos, dof = model.jnt_qposadr[arm.joints], model.jnt_dofadr[arm.joints]
    jacobian, mass = np.vstack([position_rows, rotation_rows])[:, dof], mass[np.ix_(dof, dof)]
    velocity, inverse = data.qvel[dof], np.linalg.inv(mass)
    position, matrix = arm.pose(data)
    error = np.concatenate([goal_position - position, 0.5 * np.cross(matrix, goal_matrix, axis=0).sum(axis=1)])
    wrench = 150.0 * error - 2 * np.sqrt(150.0) * jacobian @ velocity
    inertia = np.zeros((6, 6))  # position and orientation decoupled
    for block in (slice(0, 3), slice(3, 6)):
        inertia[block, block] = np.linalg.inv(jacobian[block] @ inverse @ jacobian[block].T)
    pull = mass @ (10.0 * (_START_RAD - data.qpos[qpos]) - 2 * np.sqrt(10.0) * velocity)
    dynamically_consistent = inverse @ jacobian.T @ np.linalg.inv(jacobian @ inverse @ jacobian.T)
    null_space = np.eye(len(dof)) - jacobian.T @ dynamically_consistent.T
    return jacobian.T @ inertia @ wrench + null_space @ pull + data.qfrc_bias[dof]


@pytest.mark.parametrize("seed", range(4))
def test_torques_equal_the_formula(simulation: TabletopSimulation, arm: Arm, data: mujoco.MjData, seed: int) -> None:
    generator = np.random.default_rng(seed)
    for _ in range(6):
        simulation.step(generator.uniform(-1, 1, 7))  # away from rest
    delta = generator.uniform(-1, 1, 6)
    position, matrix = arm.pose(data)
    turn = quat_wxyz_to_matrix(axis_angle_to_quat_wxyz(MAX_DELTA_ROTATION_RAD * delta[3:]))
    expected = _torque(arm, data, position + MAX_DELTA_POSITION_M * delta[:3], turn @ matrix)
    limit = arm.model.actuator_ctrlrange[arm.actuators]
    arm.controller.set_goal(delta)
    arm.controller.apply()
    assert np.abs(expected).max() > 1.0  # N m
    assert np.allclose(data.ctrl[arm.actuators], np.clip(expected, *limit.T), rtol=0, atol=1e-9)


def test_torques_stay_within_the_actuators_limits(arm: Arm, data: mujoco.MjData) -> None:
    low, high = arm.model.actuator_ctrlrange[arm.actuators].T
    data.qvel[arm.model.jnt_dofadr[arm.joints]] = 40.0  # rad/s: asks for far more
    mujoco.mj_step1(arm.model, data)
    arm.controller.set_goal(np.zeros(6))
    arm.controller.apply()
    torque = data.ctrl[arm.actuators]
    assert np.all((low <= torque) & (torque <= high))
    assert np.any((torque == low) | (torque == high))


def test_a_compiled_control_step_equals_the_plain_loop(simulation: TabletopSimulation, arm: Arm) -> None:
    states = []
    for compiled in (True, False):
        simulation.reset(np.random.default_rng(2))
        data = simulation.data
        for number in range(10):
            arm.controller.set_goal(np.array([0.6, -0.4, -0.8, 0.1, 0.2, 0.3]) * (-1) ** (number // 4))
            if compiled:
                arm.controller.advance(10)
                mujoco.mj_step1(arm.model, data)
                continue
            for _ in range(10):
                arm.controller.apply()
                mujoco.mj_step2(arm.model, data)
                mujoco.mj_step1(arm.model, data)
        states.append(simulation.state())
    assert np.array_equal(*states)
