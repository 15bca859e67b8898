"""Mirror images against the simulator: the flipped scene with the flipped action does the flipped thing."""

import mujoco
import numpy as np
import pytest

from vla_bench.core.geometry import CameraGeometry
from vla_bench.envs.environment import VlaBenchEnv, make
from vla_bench.envs.tabletop.placement import Place
from vla_bench.envs.tabletop.simulation import TabletopSimulation
from vla_bench.training.augmentation.geometric import HorizontalFlip
from vla_bench.training.augmentation.recorded_scene import camera_in_mjcf, robot_base_in_mjcf
from vla_bench.training.augmentation.samples import Samples
from vla_bench.training.augmentation.scene import SceneGeometry, robot_symmetries
from vla_bench.training.config import AugmentationConfig

PANDA = robot_symmetries["panda"]
CHOSEN = np.ones(1, dtype=bool)
SIZE = 96


@pytest.fixture(scope="module")
def env() -> VlaBenchEnv:
    made = make("tabletop_pick.pick_red_cube", image_size=SIZE, cameras=("agentview",))
    made.reset(seed=0)
    model = made.simulation.compiled.model  # type: ignore[attr-defined]
    model.light_dir[:, 1] = 0.0  # the scene's one light shines from the left: into the plane of symmetry with it
    return made


@pytest.fixture(scope="module")
def scene(env: VlaBenchEnv) -> SceneGeometry:
    xml = env.model_xml()
    position, quat = robot_base_in_mjcf(xml)
    cameras = {"agentview": camera_in_mjcf(xml, "agentview")}
    return SceneGeometry(
        cameras,
        position,
        quat,
        tuple(field for field in env.proprioception_fields if field.name != "hand_axis_angle"),
        PANDA,
    )


@pytest.fixture(scope="module")
def flip(scene: SceneGeometry) -> HorizontalFlip:
    made = HorizontalFlip.of(AugmentationConfig(flip=1.0), scene)
    assert made is not None
    return made


def simulation_of(env: VlaBenchEnv) -> TabletopSimulation:
    assert isinstance(env.simulation, TabletopSimulation)
    return env.simulation


def felt_by(simulation: TabletopSimulation) -> np.ndarray:
    """Return what the robot feels, all but the hand's orientation, whose mirror image is not known."""
    return simulation.proprioception()[:22]


def arranged(env: VlaBenchEnv, joints: np.ndarray, seed: int, *, mirrored: bool) -> TabletopSimulation:
    """Arrange things at random and the arm at `joints`, or all of it mirrored."""
    simulation, draw = simulation_of(env), np.random.default_rng(seed)
    sign = -1.0 if mirrored else 1.0
    places = {}
    for item in env.task.objects:
        x, y, yaw = draw.uniform([-0.12, 0.02, -1.0], [0.12, 0.3, 1.0])  # all on the left: a wrong side shows
        places[item] = Place((x, sign * y), sign * yaw)
    if mirrored:
        joints = np.array(PANDA.joint_signs) * joints + np.array(PANDA.joint_offsets_rad)
    simulation.arrange(places, joints)
    return simulation


def postures(env: VlaBenchEnv, deviation: float, count: int = 4) -> np.ndarray:
    start = np.array(simulation_of(env).compiled.robot.arm.start_rad)
    return start + np.random.default_rng(1).normal(0.0, deviation, (count, len(start)))


def mirrored(flip: HorizontalFlip, **parts: np.ndarray) -> Samples:
    blank = Samples(
        images=np.zeros((1, 1, 2, 2, 3), np.uint8),
        actions=np.zeros((1, 1, 7), np.float32),
        proprioception=np.zeros((1, 22), np.float32),
        instructions=("push it to the left",),
    )
    return flip.apply(Samples(**{**vars(blank), **parts}), CHOSEN)


def test_the_mirrored_arm_feels_the_mirrored_proprioception(env: VlaBenchEnv, flip: HorizontalFlip) -> None:
    for joints in postures(env, 0.3):
        felt = felt_by(arranged(env, joints, 0, mirrored=False))
        other = felt_by(arranged(env, joints, 0, mirrored=True))
        expected = mirrored(flip, proprioception=felt[None]).proprioception[0]
        assert np.abs(expected[:3] - other[:3]).max() < 1e-5  # m
        # 2 mrad: robosuite's hand is mounted at 45.02 degrees, not 45
        assert np.abs(expected - other).max() < 2e-3
        assert np.abs(felt - other).max() > 0.1


def test_the_mirrored_action_moves_the_mirrored_arm_the_mirrored_way(env: VlaBenchEnv, flip: HorizontalFlip) -> None:
    for number, joints in enumerate(postures(env, 0.1)):
        actions = np.random.default_rng(number).uniform(-0.7, 0.7, (1, 6, 7)).astype(np.float32)
        ends, starts = [], []
        for chunk, is_mirrored in ((actions, False), (mirrored(flip, actions=actions).actions, True)):
            simulation = arranged(env, joints, number, mirrored=is_mirrored)
            starts.append(felt_by(simulation))
            for action in chunk[0]:
                simulation.step(action)
            ends.append(felt_by(simulation))
        assert np.linalg.norm(ends[0][:3] - starts[0][:3]) > 0.01
        expected = mirrored(flip, proprioception=ends[0][None]).proprioception[0]
        assert np.abs(expected[:3] - ends[1][:3]).max() < 2e-4  # m
        assert np.abs(expected[3:6] - ends[1][3:6]).max() < 5e-3  # rad


def test_without_the_pseudo_vector_s_sign_the_hand_would_turn_the_wrong_way(
    env: VlaBenchEnv, flip: HorizontalFlip
) -> None:
    """The same check fails for a rotation mirrored like a displacement, so the check is effective."""
    action = np.array([[[0, 0, 0, 0.4, 0, 0.5, -1]]], dtype=np.float32)
    right = mirrored(flip, actions=action).actions
    wrong = right * np.array([1, 1, 1, -1, -1, -1, 1], dtype=np.float32)
    joints = postures(env, 0.05, 1)[0]
    simulation = arranged(env, joints, 0, mirrored=False)
    simulation.step(action[0, 0])
    expected = mirrored(flip, proprioception=felt_by(simulation)[None]).proprioception[0]
    errors = []
    for chunk in (right, wrong):
        simulation = arranged(env, joints, 0, mirrored=True)
        simulation.step(chunk[0, 0])
        errors.append(np.abs(expected[3:6] - felt_by(simulation)[3:6]).max())
    assert errors[0] < 5e-3
    assert errors[1] > 0.05


def test_the_flipped_image_is_the_image_of_the_mirrored_scene(env: VlaBenchEnv, flip: HorizontalFlip) -> None:
    """In the lower half, below the arm: its meshes and shading are no mirror images of themselves in every detail."""
    unlike = ("milk_box", "orange_mug")  # a gable and a handle: not symmetric themselves
    shares = []
    for number, joints in enumerate(postures(env, 0.05, 3)):
        images = []
        for is_mirrored in (False, True):
            simulation = arranged(env, joints, number, mirrored=is_mirrored)
            for item in unlike:
                simulation.move_item(item, np.array([0.0, 0.0, -5.0]))
            images.append(simulation.images()["agentview"])
        flipped = mirrored(flip, images=images[0][None, None]).images[0, 0]
        for candidate in (flipped, images[0]):
            different = np.abs(candidate.astype(int) - images[1]).max(axis=-1)[SIZE // 2 :] > 24
            shares.append(different.mean())
    assert max(shares[0::2]) < 0.02  # edges of the wooden checker and of things
    assert min(shares[1::2]) > 0.03  # and without the flip


SYMMETRIC = """
<mujoco>
  <visual><headlight ambient="0.4 0.4 0.4" diffuse="0.5 0.5 0.5"/></visual>
  <worldbody>
    <geom type="plane" size="3 3 0.1" rgba="0.6 0.6 0.6 1"/>
    <camera name="agentview" pos="0.54 0 1.4" xyaxes="0 1 0 -0.655 0 0.7556" fovy="47"/>
    <camera name="side" pos="0 -1 1.2" xyaxes="1 0 0 0 0.7 0.7" fovy="47"/>
    <body name="robot_base" pos="-0.56 0 0.9"/>
    {bodies}
  </worldbody>
</mujoco>
"""


def rendered(places: np.ndarray, camera: str) -> np.ndarray:
    """Render boxes of different colours and sizes at (x, y, z, yaw)."""
    bodies = "".join(
        f'<body pos="{x} {y} {z}" euler="0 0 {np.rad2deg(yaw)}">'
        f'<geom type="box" size="{0.04 + 0.02 * number} 0.05 0.03" rgba="{number % 2} {number / 3} 0.2 1"/></body>'
        for number, (x, y, z, yaw) in enumerate(places)
    )
    model = mujoco.MjModel.from_xml_string(SYMMETRIC.format(bodies=bodies))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, SIZE, SIZE) as renderer:
        renderer.update_scene(data, camera=camera)
        return np.asarray(renderer.render())


@pytest.fixture
def boxes() -> np.ndarray:
    return np.random.default_rng(3).uniform([-0.2, 0.02, 0.7, -0.8], [0.2, 0.35, 0.95, 0.8], (4, 4))


def test_a_camera_in_the_plane_sees_the_mirrored_scene_as_its_flipped_image(boxes: np.ndarray) -> None:
    before, after = (rendered(boxes * [1, sign, 1, sign], "agentview") for sign in (1, -1))
    assert (np.abs(before[:, ::-1].astype(int) - after).max(axis=-1) > 12).mean() < 0.01
    assert (np.abs(before.astype(int) - after).max(axis=-1) > 12).mean() > 0.05


def test_a_camera_beside_the_plane_does_not(boxes: np.ndarray) -> None:
    """So refusing it is right."""
    before, after = (rendered(boxes * [1, sign, 1, sign], "side") for sign in (1, -1))
    assert (np.abs(before[:, ::-1].astype(int) - after).max(axis=-1) > 12).mean() > 0.05


def test_the_camera_read_from_mjcf_projects_as_the_renderer_does(boxes: np.ndarray) -> None:
    xml = SYMMETRIC.format(bodies='<body pos="0.1 0.1 0.65"><geom type="sphere" size="0.02" rgba="1 0 0 1"/></body>')
    model = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    for name in ("agentview", "side"):
        with mujoco.Renderer(model, SIZE, SIZE) as renderer:
            renderer.update_scene(data, camera=name)
            image = renderer.render().astype(int)
        rows, columns = np.nonzero(image[..., 0] - image[..., 1] > 60)
        camera: CameraGeometry = camera_in_mjcf(xml, name)
        column, row = camera.project(np.array([0.1, 0.1, 0.65]), SIZE)
        assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((column, row), abs=0.7)
