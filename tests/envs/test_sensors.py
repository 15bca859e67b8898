"""Camera matrices, depth and segmentation agree with the simulated world, for both engines."""

import warnings
from collections.abc import Iterator

import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray

import vla_bench
from vla_bench.core.types import FloatArray
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.envs.sensors import geom_segments

_SIZE = 128  # pixels
_TASKS = ("tabletop_object.red_cube_in_basket", "robosuite.lift", "robosuite.pick_place_can")
_NOOP = np.array([0, 0, 0, 0, 0, 0, -1.0], dtype=np.float32)


@pytest.fixture(scope="module", params=_TASKS)
def environment(request: pytest.FixtureRequest) -> Iterator[VlaBenchEnv]:
    """Return an environment with images, depth and segmentation."""
    made = vla_bench.make(request.param, image_size=_SIZE, depth=True, segmentation=True)
    made.reset(seed=3)
    yield made
    made.close()


def _pixel(environment: VlaBenchEnv, camera: str, point_world: FloatArray) -> tuple[FloatArray, float]:
    """Return (column, row) at which a camera shows a point, and its depth [m], by the matrices alone."""
    camera_from_world = np.linalg.inv(environment.camera_poses_world()[camera])
    ray = environment.camera_intrinsics()[camera] @ (camera_from_world @ [*point_world, 1.0])[:3]
    return ray[:2] / ray[2], float(ray[2])


def _point(environment: VlaBenchEnv, camera: str, column: int, row: int, depth_m: float) -> FloatArray:
    """Return the point in the world that a pixel with this depth shows, (3,)."""
    ray = np.linalg.inv(environment.camera_intrinsics()[camera]) @ [column + 0.5, row + 0.5, 1.0]
    point: FloatArray = (environment.camera_poses_world()[camera] @ [*(ray * depth_m), 1.0])[:3]
    return point


def _shown(segmentation: NDArray[np.uint8], number: int) -> FloatArray:
    """Return the middle of a segment, (column, row)."""
    rows, columns = np.nonzero(segmentation == number)
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5])


def test_every_item_is_segmented_at_its_projected_position(environment: VlaBenchEnv) -> None:
    segmentation = environment.observe()["segmentation"]["agentview"]
    names = environment.segment_names
    assert names[:2] == ("background", "robot")
    assert names[2:] == tuple(environment.simulation.world.items())
    assert set(np.unique(segmentation)) <= set(range(len(names)))
    for number, item in enumerate(names[2:], start=2):
        middle, _ = _pixel(environment, "agentview", environment.simulation.world.position_world(item))
        if item == "bin":  # a compartment: the whole bin, one body, has its number
            assert (segmentation == number).mean() > 0.05
            continue
        column, row = middle.astype(int)
        assert segmentation[row, column] == number, item
        assert np.linalg.norm(_shown(segmentation, number) - middle) < 9, item


def test_the_moving_wrist_camera_agrees_with_its_matrices(environment: VlaBenchEnv) -> None:
    environment.reset(seed=3)
    before = environment.camera_poses_world()
    world = environment.simulation.world
    item = environment.segment_names[2]
    for _ in range(12):
        away = world.position_world(item) + np.array([0.0, 0.0, 0.16]) - world.end_effector_position_world()
        action = np.concatenate([np.clip(10 * away, -1, 1), [0, 0, 0, -1]])
        observation, _, _, _, info = environment.step(action.astype(np.float32))
    assert np.array_equal(environment.camera_poses_world()["agentview"], before["agentview"])
    assert np.linalg.norm(environment.camera_poses_world()["wrist"][:3, 3] - before["wrist"][:3, 3]) > 0.03
    middle, _ = _pixel(environment, "wrist", world.position_world(item))
    assert np.linalg.norm(_shown(observation["segmentation"]["wrist"], 2) - middle) < 12
    assert (observation["segmentation"]["wrist"] == 1).any()  # its own fingers
    for camera, geometry in info["cameras"].items():
        assert np.array_equal(geometry["pose_world"], environment.camera_poses_world()[camera])
        assert np.array_equal(geometry["intrinsics"], environment.camera_intrinsics()[camera])


def test_depth_and_matrices_give_points_on_the_table(environment: VlaBenchEnv) -> None:
    """The points around an item's base are on the surface that supports it, for every pixel that shows them."""
    environment.reset(seed=3)
    world = environment.simulation.world
    observation = environment.observe()
    depth, segmentation = observation["depth"]["agentview"], observation["segmentation"]["agentview"]
    item = environment.segment_names[2]
    surface_m = world.initial_position_world(item)[2] + world.geometry(item).bottom_m
    tried = 0
    for angle in np.linspace(0, 2 * np.pi, 40):
        place = world.position_world(item) + 0.07 * np.array([np.cos(angle), np.sin(angle), 0])
        place[2] = surface_m
        (column, row), distance = _pixel(environment, "agentview", place)
        column, row = int(column), int(row)
        if environment.segment_names[segmentation[row, column]] not in ("background", "wooden_bin"):
            continue
        tried += 1
        assert depth[row, column] == pytest.approx(distance, abs=0.02)
        seen = _point(environment, "agentview", column, row, depth[row, column])
        assert seen[2] == pytest.approx(surface_m, abs=0.004)
        assert np.linalg.norm(seen[:2] - place[:2]) < 0.015
    assert tried > 8


def test_intrinsics_and_poses_are_proper(environment: VlaBenchEnv) -> None:
    for camera, pose in environment.camera_poses_world().items():
        assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-9)
        assert np.linalg.det(pose[:3, :3]) == pytest.approx(1.0)
        assert pose[3].tolist() == [0, 0, 0, 1]
        matrix = environment.camera_intrinsics()[camera]
        assert matrix[0, 2] == matrix[1, 2] == _SIZE / 2
        assert matrix[0, 0] == matrix[1, 1] > _SIZE / 2
    _, camera_up, _ = environment.camera_poses_world()["agentview"][:3, :3].T
    assert camera_up[2] < -0.5  # OpenCV's y axis points down in the image, and the camera stands upright


def test_passes_gymnasium_check(environment: VlaBenchEnv) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*(infinity|different from the unwrapped|spec).*")
        check_env(environment, skip_render_check=True)
    observation, info = environment.reset(seed=1)
    assert environment.observation_space.contains(observation)
    assert observation["segmentation"]["wrist"].dtype == np.uint8
    assert info["segment_names"] == environment.segment_names
    later = environment.step(_NOOP)[0]
    assert not np.shares_memory(later["segmentation"]["agentview"], observation["segmentation"]["agentview"])


def test_info_has_no_cameras_if_there_are_none() -> None:
    made = vla_bench.make(_TASKS[0], cameras=(), segmentation=True)
    observation, info = made.reset(seed=0)
    assert observation["segmentation"] == {}
    assert info["cameras"] == made.camera_intrinsics() == made.camera_poses_world() == {}
    assert "segmentation" not in vla_bench.make(_TASKS[0], cameras=()).reset(seed=0)[0]


def test_faithful_rendering_does_not_blend_segments() -> None:
    made = vla_bench.make(_TASKS[0], image_size=_SIZE, rendering="faithful", segmentation=True)
    made.reset(seed=3)
    fine = made.observe()["segmentation"]["agentview"]
    made = vla_bench.make(_TASKS[0], image_size=_SIZE, segmentation=True)
    made.reset(seed=3)
    fast = made.observe()["segmentation"]["agentview"]
    assert (fine != fast).mean() < 0.01  # the robot's simplified outline
    assert set(np.unique(fine)) == set(np.unique(fast)) == set(range(len(made.segment_names)))


def test_an_item_that_is_part_of_another_item_has_its_own_segment() -> None:
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><geom size='1'/><body name='robot'><geom size='1'/><body><geom size='1'/></body></body>"
        "<body name='cabinet'><geom size='1'/><body name='drawer'><geom size='1'/><body><geom size='1'/></body></body>"
        "<body><geom size='1'/></body></body></worldbody></mujoco>"
    )
    cabinet, drawer = model.body("cabinet").id, model.body("drawer").id
    segments = geom_segments(model, [model.body("robot").id], {"cabinet": [cabinet], "cabinet_drawer": [drawer]})
    assert segments.tolist() == [0, 1, 1, 2, 3, 3, 2, 0]
