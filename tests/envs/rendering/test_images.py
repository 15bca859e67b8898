"""Orientation of images, depth in meters, and independence of physics from rendering quality."""

import mujoco
import numpy as np
import pytest

from vla_bench.core.env_options import EnvOptions
from vla_bench.core.geometry import quat_wxyz_to_matrix
from vla_bench.core.types import FloatArray, ImageArray
from vla_bench.envs.simulation import segment_names
from vla_bench.envs.tabletop.simulation import TabletopSimulation
from vla_bench.tasks import get_task

_TASK = get_task("tabletop_object.red_cube_in_basket")
_SIZE = 96  # pixels
_CAMERAS = {"agentview": "agentview", "wrist": "robot_eye_in_hand"}
_NOOP = np.array([0, 0, 0, 0, 0, 0, -1.0])


@pytest.fixture(scope="module")
def simulation() -> TabletopSimulation:
    """The red cube hangs in the air, off the middle of both views and in front of all else."""
    made = TabletopSimulation(_TASK, EnvOptions(image_size=_SIZE))
    made.reset(np.random.default_rng(0))
    return made


def _pixel(simulation: TabletopSimulation, view: str, position_world: FloatArray) -> tuple[int, int, float]:
    """Row, column and distance along the view [m] at which a camera sees a point, by the pinhole model."""
    model, data = simulation.compiled.model, simulation.data
    camera = model.camera(_CAMERAS[view]).id
    local = data.cam_xmat[camera].reshape(3, 3).T @ (position_world - data.cam_xpos[camera])  # x right, y up, z back
    focal = 0.5 * _SIZE / np.tan(np.radians(model.cam_fovy[camera]) / 2)
    distance = -float(local[2])
    return int(_SIZE / 2 - focal * local[1] / distance), int(_SIZE / 2 + focal * local[0] / distance), distance


def _show_cube(simulation: TabletopSimulation, view: str) -> FloatArray:
    camera = simulation.compiled.model.camera(_CAMERAS[view]).id
    away = {"agentview": (0.16, 0.11, -0.6), "wrist": (0.05, -0.06, -0.2)}[view]  # right, up, back
    place = simulation.data.cam_xpos[camera] + simulation.data.cam_xmat[camera].reshape(3, 3) @ away
    simulation.move_item("red_cube", place)
    return place


@pytest.mark.parametrize("view", _CAMERAS)
def test_images_are_right_side_up_and_not_mirrored(simulation: TabletopSimulation, view: str) -> None:
    row, column, distance = _pixel(simulation, view, _show_cube(simulation, view))
    image, depth, segments = simulation.images()[view], simulation.depth()[view], simulation.segmentation()[view]
    assert min(abs(row - _SIZE / 2), abs(column - _SIZE / 2)) > 6
    assert _is_red(image[row, column])
    flips = [(_SIZE - 1 - row, column), (row, _SIZE - 1 - column), (_SIZE - 1 - row, _SIZE - 1 - column)]
    assert not any(_is_red(image[place]) for place in flips)
    assert distance - 0.045 < depth[row, column] < distance - 0.02  # the face, 2.3 cm or more in front of the center
    number = segment_names(simulation.world.items()).index("red_cube")
    assert segments[row, column] == number
    assert not any(segments[place] == number for place in flips)


def test_left_and_right_are_as_the_robot_sees_them_from_opposite(simulation: TabletopSimulation) -> None:
    """The camera looks at the robot, so the basket on the robot's left (+y) is on the image's right."""
    simulation.reset(np.random.default_rng(0))
    columns = {
        item: _pixel(simulation, "agentview", simulation.world.position_world(item))[1] for item in _TASK.objects
    }
    assert columns["plate"] < _SIZE / 3 < 2 * _SIZE / 3 < columns["basket"]
    segments = simulation.segmentation()["agentview"]
    for number, item in enumerate(simulation.world.items(), start=2):
        rows, seen = np.nonzero(segments == number)
        row, column, _ = _pixel(simulation, "agentview", simulation.world.position_world(item))
        assert abs(seen.mean() - column) < 6, item
        assert abs(rows.mean() - row) < 6, item


def _is_red(colour: ImageArray) -> bool:
    red, green, blue = (int(value) for value in colour)
    return red > 60 and red > 2 * green and red > 2 * blue


@pytest.mark.parametrize("place", [(0.20, 0.15), (0.20, -0.15), (-0.30, 0.35)])
def test_depth_is_the_distance_to_the_table(simulation: TabletopSimulation, place: tuple[float, float]) -> None:
    simulation.reset(np.random.default_rng(0))
    row, column, distance = _pixel(
        simulation, "agentview", np.array([*place, simulation.compiled.scene.surface_height_m])
    )
    depth = simulation.depth()["agentview"]
    assert 0.5 < distance < 1.2
    assert depth[row, column] == pytest.approx(distance, abs=0.012)  # a pixel is 1 cm there
    assert depth.dtype == np.float32
    assert np.isfinite(depth).all()


def test_rendering_depth_does_not_change_images(simulation: TabletopSimulation) -> None:
    before = simulation.images()
    simulation.depth()
    simulation.segmentation()
    after = simulation.images()
    assert all(np.array_equal(before[view], after[view]) for view in _CAMERAS)
    assert not any(np.shares_memory(before[view], after[view]) for view in _CAMERAS)


def test_environments_of_two_sizes_and_states_do_not_disturb_each_other(simulation: TabletopSimulation) -> None:
    other = TabletopSimulation(_TASK, EnvOptions(image_size=48, cameras=("wrist",)))
    other.reset(np.random.default_rng(5))
    small = other.images()
    assert {view: image.shape for view, image in small.items()} == {"wrist": (48, 48, 3)}
    simulation.reset(np.random.default_rng(1))
    assert simulation.images()["wrist"].shape == (_SIZE, _SIZE, 3)
    assert np.array_equal(other.images()["wrist"], small["wrist"])


def test_rendering_quality_changes_only_images(simulation: TabletopSimulation) -> None:
    faithful = TabletopSimulation(_TASK, EnvOptions(image_size=_SIZE, rendering="faithful"))
    actions = np.random.default_rng(3).uniform(-1, 1, (10, 7))
    for made in (simulation, faithful):
        made.reset(np.random.default_rng(2))
        for action in actions:
            made.step(action)
    assert np.array_equal(simulation.state(), faithful.state())
    plain, fine = simulation.compiled.model, faithful.compiled.model
    assert plain.nmeshface < fine.nmeshface / 3
    for field in ("body_mass", "body_inertia", "dof_damping", "geom_contype", "geom_friction"):
        assert np.array_equal(getattr(plain, field), getattr(fine, field)), field
    difference = np.abs(simulation.images()["agentview"].astype(int) - faithful.images()["agentview"].astype(int))
    assert difference.max() > 30  # shadows, to begin with
    assert np.median(difference) < 20


def test_simplified_robot_meshes_keep_their_extent(simulation: TabletopSimulation) -> None:
    fine = TabletopSimulation(_TASK, EnvOptions(image_size=_SIZE, rendering="faithful")).compiled.model
    plain = simulation.compiled.model
    compared = 0
    for geom in np.flatnonzero(fine.geom_type == mujoco.mjtGeom.mjGEOM_MESH):
        kept, whole = (_corners(model, geom) for model in (plain, fine))
        diagonal_m = np.linalg.norm(np.subtract(*whole))
        assert np.abs(np.subtract(kept, whole)).max() < 0.1 * diagonal_m, fine.geom(geom).name
        compared += 1
    assert compared > 20


def _corners(model: mujoco.MjModel, geom: int) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest corner of a mesh in the frame of its body, (3,) each [m]."""
    mesh = model.geom_dataid[geom]
    first = model.mesh_vertadr[mesh]
    vertices = model.mesh_vert[first : first + model.mesh_vertnum[mesh]]
    placed = vertices @ quat_wxyz_to_matrix(model.geom_quat[geom]).T + model.geom_pos[geom]
    return placed.min(axis=0), placed.max(axis=0)
