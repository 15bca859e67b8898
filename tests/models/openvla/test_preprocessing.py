"""Images against PIL and plain arithmetic."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from vla_bench.models.openvla.config import ModelConfigError, openvla_7b_config
from vla_bench.models.openvla.processor import IMAGENET_MEAN, IMAGENET_STD, ImagePreparation

PREPARATION = ImagePreparation.of(openvla_7b_config())


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def normalized(image: Image.Image) -> torch.Tensor:
    pixels = torch.from_numpy(np.asarray(image).astype(np.float64) / 255).permute(2, 0, 1)
    mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return torch.cat([(pixels - mean) / std, (pixels - 0.5) / 0.5])


def difference(preparation: ImagePreparation, array: np.ndarray, expected: Image.Image) -> float:
    return float((preparation.pixel_values(torch.from_numpy(array)[None])[0] - normalized(expected)).abs().max())


@pytest.mark.parametrize("size", [(224, 224), (256, 256), (300, 480)])
def test_naive_resizing_is_pil_s_bicubic(size: tuple[int, int]) -> None:
    array = picture(*size)
    expected = Image.fromarray(array).resize((224, 224), Image.Resampling.BICUBIC)
    assert difference(PREPARATION, array, expected) < 1e-6


def test_letterboxing_fills_with_the_last_mean() -> None:
    array = picture(100, 224)
    square = np.full((224, 224, 3), 127, np.uint8)
    square[62:162] = array
    assert difference(replace(PREPARATION, strategy="letterbox"), array, Image.fromarray(square)) < 1e-6


def test_resize_crop_keeps_the_centre() -> None:
    array = picture(300, 480)
    resized = Image.fromarray(array).resize((358, 224), Image.Resampling.BICUBIC).crop((67, 0, 291, 224))
    assert difference(replace(PREPARATION, strategy="resize-crop"), array, resized) < 1e-6


def test_every_grey_value_is_exact() -> None:
    array = np.arange(256, dtype=np.uint8)[:224, None, None].repeat(224, axis=1).repeat(3, axis=2)
    for shifted in (array, array + 32):
        assert difference(PREPARATION, shifted, Image.fromarray(shifted)) < 1e-6


def test_settings_survive_json_and_wrong_ones_are_named() -> None:
    config = openvla_7b_config()
    content = PREPARATION.to_json()
    assert ImagePreparation.from_json(content, config) == PREPARATION
    for change, message in (
        (
            {"image_resize_strategy": "stretch"},
            r"image_resize_strategy is 'stretch'\. Expected resize-naive, letterbox",
        ),
        ({"interpolations": ["area", "bicubic"]}, "interpolation 'area'"),
        ({"means": [[0.5] * 3]}, "Expected 2 entries, one per tower"),
        ({"input_sizes": [[3, 96, 96]] * 2}, r"the network takes \[3, 224, 224\]"),
    ):
        with pytest.raises(ModelConfigError, match=message):
            ImagePreparation.from_json({**content, **change}, config)
    with pytest.raises(ModelConfigError, match="'stds' is missing"):
        ImagePreparation.from_json({key: value for key, value in content.items() if key != "stds"}, config)
