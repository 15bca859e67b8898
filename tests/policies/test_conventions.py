import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from vla_bench.core.conventions import GripperConvention
from vla_bench.core.geometry import axis_angle_to_quat_wxyz, quat_wxyz_to_axis_angle, quat_wxyz_to_matrix
from vla_bench.policies.conventions import actions_to_close_positive, axis_angle_from_robosuite, image_for_policy


@pytest.mark.parametrize(
    ("convention", "closed", "opened"),
    [("close_positive", 1, -1), ("open_positive", -1, 1), ("close_one", 1, 0), ("open_one", 0, 1)],
)
def test_the_gripper_closes_and_opens_as_meant(convention: GripperConvention, closed: float, opened: float) -> None:
    actions = np.array([[[0.1] * 6 + [closed], [0.2] * 6 + [opened]]])
    converted = actions_to_close_positive(actions, convention)
    assert converted[0, :, 6].tolist() == [1, -1]
    np.testing.assert_allclose(converted[..., :6], actions[..., :6])


def test_an_undecided_gripper_is_decided_as_openvla_does() -> None:
    actions = np.array([[0.0] * 6 + [0.49], [0.0] * 6 + [0.51]])
    assert actions_to_close_positive(actions, "open_one")[:, 6].tolist() == [1, -1]


def test_the_shortest_rotation_is_the_same_rotation() -> None:
    draw = np.random.default_rng(0)
    for _ in range(50):
        quat = draw.normal(size=4)
        kept = quat_wxyz_to_axis_angle(quat / np.linalg.norm(quat))
        shortest = axis_angle_from_robosuite(kept[None], "shortest")[0]
        assert np.linalg.norm(shortest) <= np.pi + 1e-9
        same = [quat_wxyz_to_matrix(axis_angle_to_quat_wxyz(rotation)) for rotation in (kept, shortest)]
        np.testing.assert_allclose(*same, atol=1e-9)
        np.testing.assert_array_equal(axis_angle_from_robosuite(kept[None], "robosuite")[0], kept)


def test_images_are_turned_as_their_names_say() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_array_equal(image_for_policy(image, "rotated_180", 1.0), np.rot90(image, 2))
    np.testing.assert_array_equal(image_for_policy(image, "upright", 1.0), image)
    as_stored_by_libero = image_for_policy(image, "upside_down", 1.0)
    np.testing.assert_array_equal(as_stored_by_libero, image[::-1])
    np.testing.assert_array_equal(image_for_policy(image, "mirrored", 1.0), np.rot90(as_stored_by_libero, 2))


def test_the_crop_keeps_its_share_of_the_area_at_the_centre() -> None:
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    border = (1 - 0.9**0.5) / 2 * 223  # pixels, of each side
    at = border + np.arange(224) * (223 - 2 * border) / 223
    grid = np.meshgrid(at, at, indexing="ij")
    expected = np.stack([map_coordinates(image[..., c].astype(float), grid, order=1) for c in range(3)], axis=-1)
    cropped = image_for_policy(image, "upright", 0.9).astype(float)
    difference = np.abs(cropped - np.floor(expected / 255 * 255.5))  # TensorFlow's rounding to 8 bits
    assert difference.shape == (224, 224, 3)
    assert difference.max() <= 1
    assert difference.mean() < 1e-3
