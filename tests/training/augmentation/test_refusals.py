"""Geometric augmentations that are not exact are refused with the reason."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vla_bench.core.geometry import CameraGeometry
from vla_bench.core.types import ProprioceptionField
from vla_bench.training.augmentation.geometric import first_direction_word, half_turn_text, mirror_text
from vla_bench.training.augmentation.pipeline import Pipeline
from vla_bench.training.augmentation.recorded_scene import camera_in_mjcf
from vla_bench.training.augmentation.samples import Draw, Samples
from vla_bench.training.augmentation.scene import (
    AugmentationRefusedError,
    SceneGeometry,
    axis_angle_of,
    robot_symmetries,
)
from vla_bench.training.config import AugmentationConfig


def looking(position: tuple[float, float, float], right: tuple[float, float, float], up: tuple[float, float, float]):
    """Return a camera with these axes."""
    axes = np.array([right, up, np.cross(right, up)], dtype=float).T
    x, y, z, w = Rotation.from_matrix(axes).as_quat()
    return CameraGeometry(position, (w, x, y, z))


AGENTVIEW = looking((0.54, 0.0, 1.4), (0, 1, 0), (-0.6551, 0, 0.7556))
ABOVE = looking((0.1, 0.05, 2.0), (0, 1, 0), (-1, 0, 0))
POSITION = ProprioceptionField("end_effector_position", 3, "m, world")
ORIENTATION = ProprioceptionField("end_effector_axis_angle", 3, "rad, world")
JOINTS = ProprioceptionField("joint_positions", 7, "rad")
SCENE = SceneGeometry({"agentview": AGENTVIEW}, (-0.56, 0.0, 0.9), robot=robot_symmetries["panda"])
SCENE_ABOVE = replace(SCENE, cameras={"above": ABOVE})
FLIP, TURN, HALF = ({name: value} for name, value in (("flip", 0.5), ("rotation_deg", 20), ("half_turn", 0.5)))


def pipeline(options: dict, scene: SceneGeometry | None) -> Pipeline:
    return Pipeline.of(AugmentationConfig(shift_pixels=0, brightness=0, **options), scene)


@pytest.mark.parametrize(
    ("options", "scene", "message"),
    [
        (FLIP, None, "A mirror image .* their poses are not known"),
        (
            FLIP,
            replace(SCENE, cameras={"agentview": AGENTVIEW, "wrist": replace(AGENTVIEW, moves_with="robot_link7")}),
            r"A mirror image would not be exact for camera 'wrist': it moves with robot_link7",
        ),
        (
            FLIP,
            replace(SCENE, cameras={"side": looking((0, -1, 1.2), (1, 0, 0), (0, 0.7, 0.7))}),
            "camera 'side': the horizontal axis of its image is 90.0 degrees off the robot's left-right axis",
        ),
        (
            FLIP,
            replace(SCENE, cameras={"agentview": replace(AGENTVIEW, position_world=(0.54, 0.2, 1.4))}),
            "camera 'agentview': it is 0.200 m away from the robot's plane of symmetry",
        ),
        (
            FLIP,
            replace(SCENE, proprioception_fields=(ProprioceptionField("tactile", 2, ""),)),
            "proprioception field 'tactile': its transformation is not known",
        ),
        (
            FLIP,
            replace(SCENE, proprioception_fields=(POSITION, JOINTS), robot=None),
            "proprioception field 'joint_positions': the robot has no known plane of symmetry",
        ),
        (TURN, SCENE, r"A rotation .* camera 'agentview': its optical axis is 49\.\d degrees off the vertical"),
        (
            TURN,
            replace(SCENE, cameras={"wrist": replace(ABOVE, moves_with="robot_link7")}),
            "camera 'wrist': it moves with robot_link7",
        ),
        (
            HALF,
            replace(SCENE, cameras={"above": ABOVE, "other": replace(ABOVE, position_world=(0.1, 0.15, 2.0))}),
            "camera 'other': its optical axis is 0.100 m away from that of the first camera",
        ),
        (
            TURN,
            replace(SCENE_ABOVE, proprioception_fields=(JOINTS,)),
            "'joint_positions': the robot's base does not rotate with the scene",
        ),
    ],
)
def test_what_is_not_exact_is_refused(options, scene, message):
    with pytest.raises(AugmentationRefusedError, match=message):
        pipeline(options, scene)


def test_what_is_exact_is_not_refused():
    fields = (POSITION, ORIENTATION, JOINTS)
    assert pipeline(FLIP, replace(SCENE, proprioception_fields=fields)).geometric
    assert pipeline(FLIP, replace(SCENE, proprioception_fields=(POSITION,), robot=None)).geometric
    assert pipeline({**TURN, **HALF}, replace(SCENE_ABOVE, proprioception_fields=fields[:2])).geometric
    behind = looking((-1.5, 0.0, 1.4), (0, -1, 0), (0.6, 0, 0.8))
    assert pipeline(FLIP, replace(SCENE, cameras={"agentview": AGENTVIEW, "behind": behind})).geometric


def test_an_instruction_with_a_direction_is_not_turned_by_some_degrees():
    with pytest.raises(
        AugmentationRefusedError, match=r"'put it left of the plate': 'left' has no equivalent after a rotation"
    ):
        pipeline(TURN, SCENE_ABOVE).texts(["put it left of the plate"])
    texts = pipeline(HALF, SCENE_ABOVE).texts(["put it left of the plate", "lift it"])
    assert texts == ("put it left of the plate", "lift it", "put it right of the plate")


def test_rotations_of_another_sign_convention_are_refused():
    scene = replace(SCENE, proprioception_fields=(POSITION, ORIENTATION))
    ours = axis_angle_of(Rotation.random(50, random_state=0))
    angle = np.linalg.norm(ours, axis=1, keepdims=True)
    shortest = np.where(angle > np.pi, ours * (1 - 2 * np.pi / angle), ours)
    positions = np.zeros((50, 3))
    pipeline(FLIP, scene).check(np.hstack([positions, ours]).astype(np.float32))
    with pytest.raises(AugmentationRefusedError, match=r"\d+ of 50 recorded rotations have the opposite sign"):
        pipeline(FLIP, scene).check(np.hstack([positions, shortest]).astype(np.float32))


@pytest.mark.parametrize(
    ("text", "mirrored", "turned"),
    [
        ("put the cube left of the plate", "put the cube right of the plate", "put the cube right of the plate"),
        ("Left or RIGHT?", "Right or LEFT?", "Right or LEFT?"),
        ("the leftmost bowl, upright", "the rightmost bowl, upright", "the rightmost bowl, upright"),
        ("turn the knob clockwise", "turn the knob counterclockwise", "turn the knob clockwise"),
        ("the can behind the box", "the can behind the box", "the can in front of the box"),
        ("the can in front of the left box", "the can in front of the right box", "the can behind the right box"),
        ("bright cleft", "bright cleft", "bright cleft"),
    ],
)
def test_words_for_directions_are_exchanged(text, mirrored, turned):
    assert mirror_text(text) == mirrored
    assert half_turn_text(text) == turned
    assert mirror_text(mirrored) == text


def test_directions_are_found_as_whole_words():
    assert first_direction_word("the Left one") == "Left"
    assert first_direction_word("bright cleft") is None


def test_only_those_drawn_are_mirrored_chunk_and_all_cameras_together():
    scene = replace(SCENE, cameras={"agentview": AGENTVIEW, "other": AGENTVIEW}, proprioception_fields=(POSITION,))
    draw = np.random.default_rng(0)
    given = Samples(
        images=draw.integers(0, 256, (40, 2, 8, 8, 3), dtype=np.uint8),
        actions=draw.uniform(-1, 1, (40, 4, 7)).astype(np.float32),
        proprioception=draw.normal(size=(40, 3)).astype(np.float32),
        instructions=("to the left",) * 40,
    )
    made = pipeline(FLIP, scene)(given, Draw(np.random.default_rng(1), 40))
    flipped = np.array([text == "to the right" for text in made.instructions])
    assert 10 < flipped.sum() < 30
    signs = np.array([1, -1, 1, -1, 1, -1, 1], dtype=np.float32)
    assert np.allclose(made.actions[flipped], given.actions[flipped] * signs)
    assert np.allclose(made.proprioception[flipped], given.proprioception[flipped] * [1, -1, 1], atol=1e-6)
    assert np.array_equal(made.images[flipped], given.images[flipped][:, :, :, ::-1])
    assert np.array_equal(made.actions[~flipped], given.actions[~flipped])
    assert np.array_equal(made.images[~flipped], given.images[~flipped])


def test_statistics_are_widened_by_what_the_changes_reach():
    draw = np.random.default_rng(0)
    actions = draw.uniform([0] * 7, [1] * 7, (100, 7)).astype(np.float32)
    felt = np.zeros((100, 0), np.float32)
    with_extremes, _ = pipeline(FLIP, SCENE).with_extremes(actions, felt)
    assert np.allclose(with_extremes.min(axis=0)[[1, 3, 5]], -actions.max(axis=0)[[1, 3, 5]])
    assert np.allclose(with_extremes.min(axis=0)[[0, 2, 4, 6]], actions.min(axis=0)[[0, 2, 4, 6]])
    turned, _ = pipeline(HALF, SCENE_ABOVE).with_extremes(actions, felt)
    assert np.allclose(turned.min(axis=0)[:2], -actions.max(axis=0)[:2], atol=1e-6)


def test_a_camera_that_hangs_on_a_still_body_stands_still():
    xml = """<mujoco><worldbody><body pos="1 0 0" quat="0.7071068 0 0 0.7071068"><camera name="a" pos="0 1 2"/>
    <body name="arm"><joint/><body><camera name="b" fovy="60" pos="1 0 0"/></body></body></body>
    <camera name="c" mode="targetbody" target="arm"/></worldbody></mujoco>"""
    camera = camera_in_mjcf(xml, "a")
    assert camera.moves_with is None
    assert camera.position_world == pytest.approx((0.0, 0.0, 2.0))
    assert camera.right_world == pytest.approx([0, 1, 0], abs=1e-6)
    assert camera_in_mjcf(xml, "b").moves_with == "arm"
    assert camera_in_mjcf(xml, "b").fovy_deg == 60
    assert camera_in_mjcf(xml, "c").moves_with == "its target (mode targetbody)"
