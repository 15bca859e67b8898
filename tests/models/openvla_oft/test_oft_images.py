import numpy as np
import pytest

from vla_bench.models.openvla_oft.images import centre_cropped, evaluation_image, jpeg_round_trip, lanczos_resized


def smooth_image(side: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    planes = [127 + 120 * np.sin(x / 20 + shift) * np.cos(y / 31 + 2 * shift) for shift in range(3)]
    return np.stack(planes, axis=-1).round().astype(np.uint8)


def plain_lanczos(row: np.ndarray, size: int) -> np.ndarray:
    """One line of pixels, by the definition: every source pixel within three (source) pixels of the target's centre."""
    scale, result = len(row) / size, []
    for target in range(size):
        centre, total, weight_sum = (target + 0.5) * scale, 0.0, 0.0
        for source, value in enumerate(row):
            x = (source + 0.5 - centre) / max(scale, 1.0)
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


def test_the_crop_keeps_the_centre_s_area():
    # A ramp of x: the crop's first and last columns lie (1 - sqrt(0.9)) / 2 of the way in from the borders.
    ramp = np.repeat(np.arange(224, dtype=np.uint8)[None, :, None].repeat(224, axis=0), 3, axis=2)
    margin = (1 - 0.9**0.5) / 2 * 223
    cropped = centre_cropped(ramp, 0.9)
    assert cropped.shape == (224, 224, 3)
    assert cropped[100, 0, 0] == pytest.approx(margin, abs=1)
    assert cropped[100, -1, 0] == pytest.approx(223 - margin, abs=1)
    assert np.array_equal(centre_cropped(ramp, 1.0), ramp)


def test_compression_changes_a_smooth_image_little():
    image = smooth_image(256)
    error = np.abs(jpeg_round_trip(image).astype(int) - image)
    assert 0 < error.max() <= 12


def test_an_image_of_the_right_size_is_only_cropped():
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    assert np.array_equal(evaluation_image(image, 224), centre_cropped(image, 0.9))
    assert np.array_equal(evaluation_image(image, 224, crop_area=1.0), image)
    large = smooth_image(256)
    assert np.array_equal(evaluation_image(large, 224, jpeg=False), centre_cropped(lanczos_resized(large, 224), 0.9))
