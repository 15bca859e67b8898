"""Turns about the vertical against the simulator: the turned scene with the turned action does the turned thing."""

import mujoco
import numpy as np
import pytest

from vla_bench.core.geometry import CameraGeometry
from vla_bench.envs.environment import VlaBenchEnv, make
from vla_bench.envs.tabletop.simulation import TabletopSimulation
from vla_bench.training.augmentation.geometric import InPlaneRotation
from vla_bench.training.augmentation.recorded_scene import camera_in_mjcf
from vla_bench.training.augmentation.samples import Samples
from vla_bench.training.augmentation.scene import SceneGeometry
from vla_bench.training.config import AugmentationConfig

SIZE = 128
ANGLES = np.deg2rad([-40.0, 10.0, 90.0, 180.0])
SCENE = """
<mujoco>
  <visual><headlight ambient="0.4 0.4 0.4" diffuse="0.5 0.5 0.5"/></visual>
  <worldbody>
    <geom type="plane" size="9 9 0.1" rgba="0.6 0.6 0.6 1"/>
    <camera name="above" pos="0.2 -0.1 1.5" quat="0.7071068 0 0 0.7071068" fovy="40"/>
    <camera name="oblique" pos="0.2 -0.8 1.4" xyaxes="1 0 0 0 0.8 0.6" fovy="40"/>
    {bodies}
  </worldbody>
</mujoco>
"""
MIDDLE = np.array([0.2, -0.1])  # below the camera


def rendered(places: np.ndarray, angle: float, camera: str) -> np.ndarray:
    """Render boxes at (x, y, yaw), the whole scene turned by `angle` about the vertical through `MIDDLE`."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    bodies = ""
    for number, (x, y, yaw) in enumerate(places):
        x, y = turn @ (np.array([x, y]) - MIDDLE) + MIDDLE
        bodies += (
            f'<body pos="{x} {y} 0.2" euler="0 0 {np.rad2deg(yaw + angle)}">'
            f'<geom type="box" size="{0.05 + 0.02 * number} 0.04 0.03" rgba="{number % 2} {number / 3} 0.2 1"/></body>'
        )
    model = mujoco.MjModel.from_xml_string(SCENE.format(bodies=bodies))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, SIZE, SIZE) as renderer:
        renderer.update_scene(data, camera=camera)
        return np.asarray(renderer.render())


def rotation_of(camera: CameraGeometry, env: VlaBenchEnv | None = None) -> InPlaneRotation:
    fields = () if env is None else env.proprioception_fields[:3]
    scene = SceneGeometry({"above": camera}, (0.0, 0.0, 0.0), proprioception_fields=fields)
    made = InPlaneRotation.of(AugmentationConfig(rotation_deg=180), scene)
    assert made is not None
    return made


def samples(**parts: np.ndarray) -> Samples:
    blank = Samples(
        images=np.zeros((1, 1, 2, 2, 3), np.uint8),
        actions=np.zeros((1, 1, 7), np.float32),
        proprioception=np.zeros((1, 0), np.float32),
        instructions=("pick it up",),
    )
    return Samples(**{**vars(blank), **parts})


@pytest.fixture
def boxes() -> np.ndarray:
    return np.random.default_rng(5).uniform([-0.1, -0.35, -0.8], [0.4, 0.15, 0.8], (4, 3))


@pytest.mark.parametrize("angle", ANGLES)
def test_the_turned_image_is_the_image_of_the_turned_scene(angle: float, boxes: np.ndarray) -> None:
    rotation = rotation_of(camera_in_mjcf(SCENE.format(bodies=""), "above"))
    before, after = rendered(boxes, 0.0, "above"), rendered(boxes, angle, "above")
    turned = rotation.apply(samples(images=before[None, None]), np.array([[angle, 0.0]])).images[0, 0]
    middle = (SIZE - 1) / 2
    rows, columns = np.mgrid[:SIZE, :SIZE]
    within = np.hypot(rows - middle, columns - middle) < SIZE / 2 - 2
    different = np.abs(turned.astype(int) - after).max(axis=-1) > 60  # a wrong pixel; edges are smoothed
    assert different[within].mean() < 0.01
    assert (np.abs(before.astype(int) - after).max(axis=-1) > 60)[within].mean() > 0.03


@pytest.mark.parametrize("angle", ANGLES)
def test_an_oblique_camera_does_not_see_it_so(angle: float, boxes: np.ndarray) -> None:
    """So refusing it is right."""
    rotation = rotation_of(camera_in_mjcf(SCENE.format(bodies=""), "above"))
    before, after = rendered(boxes, 0.0, "oblique"), rendered(boxes, angle, "oblique")
    turned = rotation.apply(samples(images=before[None, None]), np.array([[angle, 0.0]])).images[0, 0]
    assert (np.abs(turned.astype(int) - after).max(axis=-1) > 60)[20:-20, 20:-20].mean() > 0.02


@pytest.mark.parametrize("angle_deg", [-50.0, 25.0])
def test_the_turned_action_moves_the_turned_arm_the_turned_way(angle_deg: float) -> None:
    """The first joint turns the whole arm about the vertical through its base, above which the camera stands here."""
    env = make("tabletop_pick.pick_red_cube", image_size=16, cameras=())
    env.reset(seed=0)
    simulation, angle = env.simulation, np.deg2rad(angle_deg)
    assert isinstance(simulation, TabletopSimulation)
    rotation = rotation_of(CameraGeometry((-0.56, 0.0, 2.5), (1.0, 0.0, 0.0, 0.0)), env)
    start = np.array(simulation.compiled.robot.arm.start_rad)
    actions = np.random.default_rng(0).uniform(-0.7, 0.7, (1, 4, 7)).astype(np.float32)
    parameters = np.array([[angle, 0.0]])
    ends = []
    felt = np.zeros((1, 8), np.float32)
    turned = rotation.apply(samples(actions=actions, proprioception=felt), parameters).actions
    for turn, chunk in ((0.0, actions), (angle, turned)):
        joints = start.copy()
        joints[0] += turn
        simulation.arrange({}, joints)
        simulation._controller.hold_posture(joints)  # the target posture rotates with the scene
        begin = simulation.proprioception()
        for action in chunk[0]:
            simulation.step(action)
        ends.append((begin[:8], simulation.proprioception()[:8]))
    for before, after in zip(*ends, strict=True):
        expected = rotation.apply(samples(proprioception=before[None]), parameters).proprioception[0]
        assert np.abs(expected[:3] - after[:3]).max() < 2e-4  # m
        assert np.abs(_turn(expected[3:6]) - _turn(after[3:6])).max() < 2e-3
    assert np.linalg.norm(ends[0][1][:3] - ends[0][0][:3]) > 0.01


def _turn(axis_angle: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(axis_angle).as_matrix()
