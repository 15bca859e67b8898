"""The robosuite suites have the states, rewards and success checks of unmodified robosuite."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import vla_bench
from vla_bench.core.env_options import EnvOptions
from vla_bench.core.errors import ConventionError, UnknownNameError
from vla_bench.core.geometry import axis_angle_to_quat_wxyz, quat_wxyz_to_matrix, yaw_of
from vla_bench.core.types import DirtyWorld, FloatArray
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.envs.robosuite.simulation import RobosuiteSimulation
from vla_bench.experts import make_expert
from vla_bench.tasks import get_task, tasks_of

SUITES = ("robosuite", "robosuite_two_arm")
TASKS = {task.name: task for suite in SUITES for task in tasks_of(suite)}
_SIZE = 96  # pixels
_STILL = np.array([0, 0, 0, 0, 0, 0, -1.0])


@pytest.fixture(scope="module")
def environments() -> Iterator[dict[str, VlaBenchEnv]]:
    """One environment of each task, shared by all tests, because building one takes a second."""
    made = {name: vla_bench.make(task.id, image_size=_SIZE, depth=True) for name, task in TASKS.items()}
    yield made
    for environment in made.values():
        environment.close()


@pytest.fixture(scope="module")
def lift(environments: dict[str, VlaBenchEnv]) -> RobosuiteSimulation:
    simulation = environments["lift"].simulation
    assert isinstance(simulation, RobosuiteSimulation)
    return simulation


@pytest.fixture(scope="module")
def can(environments: dict[str, VlaBenchEnv]) -> RobosuiteSimulation:
    simulation = environments["pick_place_can"].simulation
    assert isinstance(simulation, RobosuiteSimulation)
    return simulation


def _fresh(name: str) -> RobosuiteSimulation:
    return RobosuiteSimulation(TASKS[name], EnvOptions(image_size=_SIZE))


def _actions(count: int, size: int = 7) -> FloatArray:
    return np.random.default_rng(7).uniform(-1, 1, (count, size))


def _rollout(simulation: RobosuiteSimulation, seed: int, actions: FloatArray) -> FloatArray:
    simulation.reset(np.random.default_rng(seed))
    states = [simulation.state()]
    for action in actions:
        simulation.step(action)
        states.append(simulation.state())
    return np.stack(states)


@pytest.mark.parametrize("name", TASKS)
def test_seeds_differ(environments: dict[str, VlaBenchEnv], name: str) -> None:
    simulation = environments[name].simulation
    item = environments[name].task.goal[0].arguments[0]
    positions = []
    for seed in range(5):
        simulation.reset(np.random.default_rng(seed))
        world = simulation.world
        dirt = world.dirt_world(item) if isinstance(world, DirtyWorld) else np.empty((0, 3))
        positions.append(dirt.mean(axis=0) if len(dirt) else world.position_world(item).copy())
    assert np.ptp(np.stack(positions)[:, :2], axis=0).max() > 0.005  # the door's position varies by 2 cm only


def test_without_cameras_nothing_is_rendered() -> None:
    simulation = RobosuiteSimulation(get_task("robosuite.lift"), EnvOptions(cameras=()))
    simulation.reset(np.random.default_rng(0))
    assert simulation.images() == simulation.depth() == {}
    assert not simulation._render_model.made
    simulation.close()


def _original(name: str) -> Any:
    import robosuite

    options = dict(TASKS[name].engine_options)
    return robosuite.make(
        options.pop("env_name"),
        robots=["Panda", "Panda"] if name.startswith("two_arm") else "Panda",
        has_renderer=False,
        has_offscreen_renderer=False,
        use_camera_obs=False,
        hard_reset=False,
        control_freq=20,
        seed=0,
        **options,
    )


_MOVING = ("qpos", "qvel")
_SOLVED = ("lift",)  # a whole episode; those of the other tasks are in the slow test


@pytest.mark.parametrize("name", TASKS)
def test_states_rewards_and_success_are_the_same(environments: dict[str, VlaBenchEnv], name: str) -> None:
    some_steps = 30 if name == "wipe" else 12  # Wipe's rewards begin with the first contact
    solved, differences = _compare_with_original(
        environments[name], seed=2, steps=150 if name in _SOLVED else some_steps
    )
    assert solved == (name in _SOLVED)
    assert max(differences) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TASKS if name not in _SOLVED])
def test_whole_episodes_are_the_same(environments: dict[str, VlaBenchEnv], name: str) -> None:
    solved, differences = _compare_with_original(environments[name], seed=3, steps=TASKS[name].horizon)
    assert solved
    # A contact between two meshes can come or go with the last bit of a state, and a velocity with it.
    assert np.quantile(differences, 0.95) < 1e-9


def _compare_with_original(environment: VlaBenchEnv, seed: int, steps: int) -> tuple[bool, list[float]]:
    """Run the expert's episode in an original robosuite environment too, and compare rewards and success.

    Return whether the task was solved, and for each control step the difference [m, rad, m/s, rad/s] from the state
    that another original environment reaches from our state before the step.
    """
    ours = environment.simulation
    assert isinstance(ours, RobosuiteSimulation)
    original, following = _reset_original(environment, seed), _reset_original(environment, seed)
    ours.reset(np.random.default_rng(seed))
    expert, differences = make_expert(environment.task), []
    expert.reset(ours.world, np.random.default_rng(0))
    for _ in range(steps):
        action = np.asarray(expert.act(ours.world), dtype=np.float64)
        for values in ("qpos", "qvel", "qacc_warmstart"):
            getattr(following.sim.data._data, values)[:] = getattr(ours.data, values)
        ours.step(action)
        _, reward, _, _ = original.step(action[: original.action_dim])  # Wipe's tool takes no 7th number
        following.step(action[: original.action_dim])
        differences.append(
            max(np.abs(getattr(ours.data, of) - getattr(following.sim.data, of)).max() for of in _MOVING)
        )
        assert ours.reward(ours.succeeded()) == pytest.approx(reward, abs=1e-9)
        assert ours.succeeded() == bool(original._check_success())
        if ours.succeeded():
            break
    original.close()
    following.close()
    return ours.succeeded(), differences


def _reset_original(environment: VlaBenchEnv, seed: int) -> Any:
    """Return an original environment in the initial state of the episode with our seed."""
    original = _original(environment.task.name)
    seeded = np.random.default_rng(np.random.default_rng(seed).integers(2**63))  # as in our reset
    original.rng.bit_generator.state = seeded.bit_generator.state
    original.reset()
    for robot in original.robots:
        for controller in robot.part_controllers.values():
            controller.new_update = True  # otherwise its first step uses the state before the fingers opened
    return original


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("lift", 5),
        ("wipe", 40),
        ("two_arm_lift", 5),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("lift", 0), ("door", 5), ("nut_assembly_square", 5))
        ),
    ],
)
def test_a_state_can_be_restored_elsewhere(environments: dict[str, VlaBenchEnv], name: str, before: int) -> None:
    simulation = environments[name].simulation
    assert isinstance(simulation, RobosuiteSimulation)
    simulation.reset(np.random.default_rng(4))
    expert = make_expert(TASKS[name])
    expert.reset(simulation.world, np.random.default_rng(0))
    for _ in range(before):
        simulation.step(expert.act(simulation.world))
    saved, actions = simulation.state(), _actions(2, simulation.action_dim)
    states = [_after(simulation, action) for action in actions]
    other = _fresh(name)
    _rollout(other, 9, _actions(3, other.action_dim))
    other.set_state(saved)
    assert np.array_equal(other.state(), saved)
    assert np.array_equal([_after(other, action) for action in actions], states)
    assert np.array_equal(other.proprioception(), simulation.proprioception())
    images = simulation.images(), other.images()
    other.close()
    assert all(np.array_equal(images[0][camera], images[1][camera]) for camera in images[0])


def _after(simulation: RobosuiteSimulation, action: FloatArray) -> FloatArray:
    simulation.step(action)
    return np.append(simulation.state(), simulation.reward(simulation.succeeded()))


def _pixel(simulation: RobosuiteSimulation, camera: str, position_world: FloatArray) -> tuple[int, int, float]:
    """Return row, column and depth [m] of a point in a camera's image, by the pinhole model."""
    geometry = simulation.cameras()[camera]
    local = np.linalg.inv(geometry.pose_world) @ (*position_world, 1.0)  # x right, y down, z forward
    column, row, depth = geometry.intrinsics(_SIZE) @ local[:3]
    return int(row / depth), int(column / depth), float(depth)


@pytest.mark.parametrize(("camera", "shift"), [("agentview", (0.15, 0.12)), ("wrist", (0.05, 0.07))])
def test_images_are_right_side_up(lift: RobosuiteSimulation, camera: str, shift: tuple[float, float]) -> None:
    lift.reset(np.random.default_rng(1))
    lift.data.joint("cube_joint0").qpos[:2] += shift  # away from the center, where a flip would not be noticed
    lift.set_state(lift.state())
    row, column, distance = _pixel(lift, camera, lift.world.position_world("cube"))
    image, depth = lift.images()[camera], lift.depth()[camera]
    assert abs(row - _SIZE / 2) > 8
    assert abs(column - _SIZE / 2) > 8
    assert _is_red(image[row, column])
    flips = [(_SIZE - 1 - row, column), (row, _SIZE - 1 - column), (_SIZE - 1 - row, _SIZE - 1 - column)]
    assert not any(_is_red(image[place]) for place in flips)
    assert depth[row, column] == pytest.approx(distance, abs=0.03)


def _is_red(color: FloatArray) -> bool:
    red, green, blue = (int(value) for value in color)
    return red > 60 and red > 2 * green and red > 2 * blue


def test_rendering_quality_changes_neither_physics_nor_layout() -> None:
    fast, faithful = (
        _fresh("lift"),
        RobosuiteSimulation(get_task("robosuite.lift"), EnvOptions(image_size=_SIZE, rendering="faithful")),
    )
    states = [_rollout(simulation, 1, _actions(2)) for simulation in (fast, faithful)]
    assert np.array_equal(*states)
    difference = np.abs(fast.images()["agentview"].astype(int) - faithful.images()["agentview"].astype(int))
    fast.close()
    faithful.close()
    assert difference.max() > 0  # two renderings
    assert np.median(difference) < 12  # of one scene


def test_proprioception_equals_robosuites_observations(lift: RobosuiteSimulation) -> None:
    from robosuite.utils import transform_utils as transforms

    _rollout(lift, 6, _actions(4))
    observed = lift._env._get_observations(force_update=True)
    values, begin = {}, 0
    for field in lift.proprioception_fields:
        values[field.name] = lift.proprioception()[begin : begin + field.size]
        begin += field.size
    assert begin == lift.proprioception().size == 25
    assert lift.proprioception().dtype == np.float32
    assert np.allclose(values["end_effector_position"], observed["robot0_eef_pos"], atol=1e-6)
    hand = transforms.quat2axisangle(observed["robot0_eef_quat"].copy())
    assert np.allclose(values["hand_axis_angle"], hand, atol=1e-5)
    assert np.allclose(values["gripper_position"], observed["robot0_gripper_qpos"], atol=1e-6)
    assert np.allclose(values["joint_positions"], observed["robot0_joint_pos"], atol=1e-6)
    assert np.allclose(values["joint_velocities"], observed["robot0_joint_vel"], atol=1e-5)
    x, y, z, w = observed["robot0_eef_quat_site"]
    turned = quat_wxyz_to_matrix(axis_angle_to_quat_wxyz(values["end_effector_axis_angle"]))
    assert np.allclose(turned, quat_wxyz_to_matrix(np.array([w, x, y, z])), atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_actions_move_along_the_world_axes(lift: RobosuiteSimulation, axis: int) -> None:
    lift.reset(np.random.default_rng(0))
    begin = lift.world.end_effector_position_world().copy()
    action = np.zeros(7)
    action[axis] = 1.0
    for _ in range(5):
        lift.step(action)
    moved = lift.world.end_effector_position_world() - begin
    assert moved[axis] > 0.03
    assert np.abs(np.delete(moved, axis)).max() < 0.25 * moved[axis]


def test_actions_rotate_about_the_world_axes_and_close_the_gripper(lift: RobosuiteSimulation) -> None:
    lift.reset(np.random.default_rng(0))
    begin, opening = yaw_of(lift.world.end_effector_quat_wxyz_world()), lift.world.gripper_opening_m()
    for _ in range(5):
        lift.step(np.array([0, 0, 0, 0, 0, 0.4, 1.0]))
    assert 0.1 < yaw_of(lift.world.end_effector_quat_wxyz_world()) - begin < 0.6
    assert lift.world.gripper_opening_m() < opening - 0.01


def test_inside_agrees_with_robosuites_compartments(can: RobosuiteSimulation) -> None:
    can.reset(np.random.default_rng(0))
    center = can.world.position_world("bin")
    inside = []
    for offset in [(0, 0, 0.05), (0.09, 0, 0.05), (0.11, 0, 0.05), (0, 0.13, 0.05), (0, 0, 0.11)]:
        can.data.joint("Can_joint0").qpos[:3] = center + offset
        can.set_state(can.state())
        position = can.world.position_world("can")
        inside.append(can.world.inside("can", "bin"))
        assert inside[-1] == (not can._env.not_in_bin(position, can._env.object_id))
    assert inside == [True, True, False, False, False]
    assert not can.world.inside("bin", "can")


def test_objects_are_at_rest_at_the_start(lift: RobosuiteSimulation) -> None:
    lift.reset(np.random.default_rng(0))
    for _ in range(6):
        lift.step(_STILL)
    assert np.allclose(lift.world.position_world("cube"), lift.world.initial_position_world("cube"), atol=1e-3)
    assert not lift.world.in_contact("cube", "gripper")
    with pytest.raises(UnknownNameError, match=r"No object in this scene named 'cub'\. Did you mean 'cube'\?"):
        lift.world.position_world("cub")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"engine_options": {"env_name": "Lft"}}, UnknownNameError, r"'Lft'\. Did you mean 'Lift'"),
        ({"engine_options": {}}, UnknownNameError, r"No robosuite environment named ''"),
        ({"objects": {"cube": "cubeC"}}, UnknownNameError, r"No object of robosuite's Lift named 'cubeC'"),
    ],
)
def test_an_invalid_task_is_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        RobosuiteSimulation(replace(get_task("robosuite.lift"), **change), EnvOptions(image_size=_SIZE))


def test_other_robots_are_refused() -> None:
    with pytest.raises(ConventionError, match=r"no robot 'ur5e'\. Known: panda"):
        RobosuiteSimulation(get_task("robosuite.lift"), EnvOptions(image_size=_SIZE, robot="ur5e"))
