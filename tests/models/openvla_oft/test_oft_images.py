import numpy as np
import pytest

from vla_bench.policies.conventions import evaluation_image, jpeg_round_trip, lanczos_resized


def smooth_image(side: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    planes = [127 + 120 * np.sin(x / 20 + shift) * np.cos(y / 31 + 2 * shift) for shift in range(3)]
    return np.stack(planes, axis=-1).round().astype(np.uint8)


def plain_lanczos(row: np.ndarray, size: int) -> np.ndarray:
    """One line of pixels, by the definition: every source pixel within three (source) pixels of the target's center."""
    scale, result = len(row) / size, []
    for target in range(size):
        center, total, weight_sum = (target + 0.5) * scale, 0.0, 0.0
        for source, value in enumerate(row):
            x = (source + 0.5 - center) / max(scale, 1.0)
            if abs(x) < 3:
                weight = 1.0 if x == 0 else 3 * np.sin(np.pi * x) * np.sin(np.pi * x / 3) / (np.pi * x) ** 2
                total, weight_sum = total + weight * value, weight_sum + weight
        result.append(total / weight_sum)
    return np.array(result)


@pytest.mark.parametrize(("side", "size"), [(32, 28), (20, 28)])
def test_resizing_is_the_lanczos_filter_by_its_definition(side, size):
    line = np.random.default_rng(0).integers(0, 256, side)
    image = np.repeat(np.repeat(line[None, :, None], side, axis=0), 3, axis=2).astype(np.uint8)
    expected = np.clip(np.rint(plain_lanczos(line, size)), 0, 255)
    assert np.abs(lanczos_resized(image, size)[size // 2, :, 0].astype(int) - expected).max() <= 1


def test_compression_changes_a_smooth_image_little():
    image = smooth_image(256)
    error = np.abs(jpeg_round_trip(image).astype(int) - image)
    assert 0 < error.max() <= 12


def test_an_image_of_the_right_size_is_left_alone():
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    assert np.array_equal(evaluation_image(image, 224), image)
    large = smooth_image(256)
    assert np.array_equal(evaluation_image(large, 224, jpeg=False), lanczos_resized(large, 224))
    assert np.array_equal(evaluation_image(large, 224), lanczos_resized(jpeg_round_trip(large), 224))
