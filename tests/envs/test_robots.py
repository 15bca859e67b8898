"""Properties of every robot in envs/robots, and robots that users add by a description."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import vla_bench
from vla_bench.core.files import TASKS_VARIABLE, data_folder
from vla_bench.core.geometry import axis_angle_to_quat_wxyz, quat_wxyz_to_matrix
from vla_bench.core.types import FloatArray, World
from vla_bench.envs.descriptions import RobotDescription, describe_robot, description_names
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.envs.robosuite.simulation import RobosuiteSimulation
from vla_bench.envs.simulation import Simulation
from vla_bench.envs.tabletop.simulation import TabletopSimulation
from vla_bench.experts import make_expert
from vla_bench.tasks import tasks_of

ROBOTS = description_names("robots")
OTHER_ROBOTS = [name for name in ROBOTS if name != "panda"]  # what the panda can do, test_contract.py shows
_TASK = "tabletop_object.red_cube_in_basket"
_SUITES = ("tabletop_object", "tabletop_pick", "tabletop_spatial", "tabletop_goal")
_SIZE = 48  # pixels
_JOINTS = {"panda": 7, "ur5e": 6}
_FINGER_JOINTS = {"panda": 2, "ur5e": 6}
_CUBE_M = 0.046


@pytest.fixture(scope="module", params=ROBOTS)
def environment(request: pytest.FixtureRequest) -> Iterator[VlaBenchEnv]:
    """The same task with each robot."""
    made = vla_bench.make(_TASK, robot=request.param, image_size=_SIZE, segmentation=True)
    yield made
    made.close()


@pytest.fixture
def robot(environment: VlaBenchEnv) -> RobotDescription:
    return describe_robot(environment.options.robot)


def _simulation(environment: VlaBenchEnv) -> TabletopSimulation:
    assert isinstance(environment.simulation, TabletopSimulation)
    return environment.simulation


def _moved(environment: VlaBenchEnv, action: list[float], steps: int = 5) -> tuple[FloatArray, FloatArray]:
    """Return how the end-effector has moved [m] and turned (rotation matrix) after some steps of one action."""
    world = environment.simulation.world
    position, matrix = world.end_effector_position_world().copy(), _matrix(world)
    for _ in range(steps):
        environment.simulation.step(np.array(action))
    return world.end_effector_position_world() - position, _matrix(world) @ matrix.T


def _matrix(world: World) -> FloatArray:
    return quat_wxyz_to_matrix(world.end_effector_quat_wxyz_world())


def test_there_are_two_robots() -> None:
    assert set(ROBOTS) >= {"panda", "ur5e"}


def test_passes_gymnasium_check(environment: VlaBenchEnv) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*(infinity|different from the unwrapped|spec).*")
        check_env(environment, skip_render_check=True)


def test_proprioception_follows_from_the_description(environment: VlaBenchEnv, robot: RobotDescription) -> None:
    observation, _ = environment.reset(seed=0)
    fields = {field.name: field for field in environment.proprioception_fields}
    joints, fingers = len(robot.arm.joints), len(robot.gripper.joints)
    assert (joints, fingers) == (_JOINTS[environment.options.robot], _FINGER_JOINTS[environment.options.robot])
    assert [field.size for field in fields.values()] == [3, 3, fingers, joints, joints, 3]
    assert fields["gripper_position"].description.startswith("m" if environment.options.robot == "panda" else "rad")
    values = observation["proprioception"]
    assert values.shape == (9 + fingers + 2 * joints,)
    posture = values[6 + fingers : 6 + fingers + joints]
    assert np.abs(posture - robot.arm.start_rad).max() < 6 * robot.arm.start_noise_rad
    assert np.allclose(values[6 : 6 + fingers], robot.gripper.joints_open, atol=0.01)


def test_the_panda_has_25_values_of_proprioception() -> None:
    made = vla_bench.make(_TASK, cameras=())
    assert made.observation_space["proprioception"].shape == (25,)


def test_the_seed_alone_decides_the_episode(environment: VlaBenchEnv) -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (8, 7))
    states = []
    for _ in range(2):
        environment.reset(seed=9)
        for action in actions:
            environment.simulation.step(action)
        states.append(environment.state())
    assert np.array_equal(*states)
    for action in actions:
        environment.simulation.step(action)
    after = environment.state()
    environment.set_state(states[0])
    for action in actions:
        environment.simulation.step(action)
    assert np.array_equal(environment.state(), after)


@pytest.mark.parametrize("name", ROBOTS)
def test_rendering_quality_changes_only_images(name: str) -> None:
    actions = np.random.default_rng(3).uniform(-1, 1, (10, 7))
    ends = []
    for rendering in ("fast", "faithful"):
        made = vla_bench.make(_TASK, robot=name, rendering=rendering, cameras=())
        made.reset(seed=2)
        for action in actions:
            made.simulation.step(action)
        ends.append(made.state())
    assert np.array_equal(*ends)


def test_the_robot_starts_over_the_table_pointing_down_with_open_fingers(
    environment: VlaBenchEnv, robot: RobotDescription
) -> None:
    environment.reset(seed=1)
    world = environment.simulation.world
    assert np.linalg.norm(world.end_effector_position_world() - (-0.106, 0.0, 1.018)) < 0.06
    assert _matrix(world)[2, 2] < -0.97
    assert abs(_matrix(world)[1, 0]) > 0.97  # the fingers open along the world's y axis
    assert world.gripper_opening_m() == pytest.approx(robot.gripper.fingers.opening_m, abs=0.002)
    assert world.gripper() == robot.gripper.geometry


def test_fingers_close_and_open_within_the_described_steps(environment: VlaBenchEnv, robot: RobotDescription) -> None:
    environment.reset(seed=1)
    world, openings = environment.simulation.world, []
    for command in (1.0, -1.0):
        for _ in range(robot.gripper.closing_steps + 4):
            environment.simulation.step(np.array([0, 0, 0, 0, 0, 0, command]))
            openings.append(world.gripper_opening_m())
    closed = openings[robot.gripper.closing_steps + 3]
    assert closed == min(openings) < 0.010
    assert openings[-1] == pytest.approx(robot.gripper.fingers.opening_m, abs=0.004)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_actions_move_along_the_world_axes(environment: VlaBenchEnv, axis: int) -> None:
    environment.reset(seed=1)
    action = [0.0] * 6 + [-1.0]
    action[axis] = 0.8
    moved, turned = _moved(environment, action)
    assert 0.02 < moved[axis] < 0.12
    assert np.abs(np.delete(moved, axis)).max() < 0.25 * moved[axis]
    assert np.trace(turned) > 2.97  # cosine of the angle above 0.985


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_actions_turn_about_the_world_axes(environment: VlaBenchEnv, axis: int) -> None:
    environment.reset(seed=1)
    action = [0.0] * 6 + [-1.0]
    action[3 + axis] = 0.4
    moved, turned = _moved(environment, action)
    rotation = np.array([turned[2, 1] - turned[1, 2], turned[0, 2] - turned[2, 0], turned[1, 0] - turned[0, 1]]) / 2
    assert 0.1 < rotation[axis] < 0.8
    assert np.abs(np.delete(rotation, axis)).max() < 0.3 * rotation[axis]
    assert np.abs(moved).max() < 0.03


def test_the_gripper_holds_and_carries_a_cube(environment: VlaBenchEnv) -> None:
    environment.reset(seed=0)
    world = environment.simulation.world
    expert = make_expert(environment.task)
    expert.reset(world, np.random.default_rng(0))
    held, success, gaps, offsets = False, False, [], []
    for _ in range(environment.task.horizon):
        _, terminated, truncated, info = environment.advance(expert.act(world))
        held = info["phase"] == "carry"
        if held:
            gaps.append(world.gripper_opening_m())
            offsets.append(world.position_world("red_cube") - world.end_effector_position_world())
        if terminated or truncated:
            success = info["success"]
            break
    assert success
    assert len(gaps) > 10
    assert np.abs(np.array(gaps[3:-3]) - _CUBE_M).max() < 0.004
    assert np.ptp(np.array(offsets[3:-3]), axis=0).max() < 0.012  # it does not slip


def test_the_wrist_camera_sees_the_fingers_and_the_table(environment: VlaBenchEnv) -> None:
    observation, _ = environment.reset(seed=1)
    for camera, most in (("agentview", 0.5), ("wrist", 0.6)):
        segmentation = observation["segmentation"][camera]
        assert 0.01 < (segmentation == 1).mean() < most, camera
        assert len(np.unique(segmentation)) > 4, camera
        assert observation["images"][camera].std() > 10


@pytest.mark.parametrize("name", OTHER_ROBOTS)
@pytest.mark.parametrize("task", ["tabletop_pick.pick_orange_mug", "tabletop_object.blue_can_on_plate"])
def test_the_expert_solves_a_task(name: str, task: str) -> None:
    assert _solved(vla_bench.make(task, robot=name, cameras=()), seed=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHER_ROBOTS)
@pytest.mark.parametrize("task", [task.id for suite in _SUITES for task in tasks_of(suite)])
def test_the_expert_solves_98_of_100(name: str, task: str) -> None:
    made = vla_bench.make(task, robot=name, cameras=())
    assert sum(_solved(made, seed) for seed in range(1000, 1100)) >= 98


def _solved(environment: VlaBenchEnv, seed: int) -> bool:
    environment.reset(seed=seed)
    world = environment.simulation.world
    expert = make_expert(environment.task)
    expert.reset(world, np.random.default_rng(seed))
    while True:
        _, terminated, truncated, info = environment.advance(expert.act(world))
        if terminated or truncated:
            return bool(info["success"])


def test_both_engines_agree_on_the_same_posture() -> None:
    """Field by field, in the frame of the robot's base: a Panda is a Panda."""
    tabletop = vla_bench.make(_TASK, cameras=()).simulation
    robosuite = vla_bench.make("robosuite.lift", cameras=()).simulation
    assert tabletop.proprioception_fields == robosuite.proprioception_fields
    joints = np.array([0.3, 0.2, -0.1, -2.2, 0.2, 2.6, 0.9])
    said = [_said_of(tabletop, "robot_", joints), _said_of(robosuite, "robot0_", joints)]
    for name, values in said[0].items():
        assert np.allclose(values, said[1][name], atol=2e-4), name


def _said_of(simulation: Simulation, prefix: str, joints: FloatArray) -> dict[str, FloatArray]:
    """Return what proprioception says at rest at `joints`, positions and orientations relative to the base."""
    assert isinstance(simulation, TabletopSimulation | RobosuiteSimulation)
    simulation.reset(np.random.default_rng(0))
    model, data = simulation._model, simulation.data
    data.qvel[:] = 0
    data.qpos[[model.joint(f"{prefix}joint{number}").qposadr[0] for number in range(1, 8)]] = joints
    fingers = {"finger_joint1": 0.03, "finger_joint2": -0.02}
    for number in range(model.njnt):
        address, name = model.jnt_qposadr[number], model.joint(number).name
        data.qpos[address] = next((at for end, at in fingers.items() if name.endswith(end)), data.qpos[address])
    simulation.set_state(simulation.state())
    ends = np.cumsum([field.size for field in simulation.proprioception_fields])
    said = {
        field.name: simulation.proprioception()[end - field.size : end]
        for field, end in zip(simulation.proprioception_fields, ends, strict=True)
    }
    base = model.body(f"{prefix}base").id
    axes = data.xmat[base].reshape(3, 3)
    for name in ("end_effector_axis_angle", "hand_axis_angle"):
        said[name] = axes.T @ quat_wxyz_to_matrix(axis_angle_to_quat_wxyz(said[name]))
    return {**said, "end_effector_position": axes.T @ (said["end_effector_position"] - data.xpos[base])}


def test_a_user_robot_needs_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the UR5e's arm with the Panda's hand: the experts know the hand from the file alone."""
    folder = data_folder("envs") / "robots"
    arm, hand = ((folder / f"{name}.toml").read_text(encoding="utf-8") for name in ("ur5e", "panda"))
    own = arm[: arm.index("[gripper]")] + hand[hand.index("[gripper]") :]
    (tmp_path / "envs" / "robots").mkdir(parents=True)
    (tmp_path / "envs" / "robots" / "mine.toml").write_text(own, encoding="utf-8")
    monkeypatch.setenv(TASKS_VARIABLE, str(tmp_path))
    made = vla_bench.make("tabletop_pick.pick_milk_box", robot="mine", cameras=())
    assert made.observation_space["proprioception"].shape == (9 + 2 + 2 * 6,)
    assert [_solved(made, seed) for seed in range(3)] == [True] * 3
