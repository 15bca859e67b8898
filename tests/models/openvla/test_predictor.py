"""Actions from images and instructions, one by one and in batches."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.models.openvla.published import ACTION, write_published
from tests.models.small import INSTRUCTIONS
from vla_bench.models.openvla import OpenVLAPredictor, load
from vla_bench.models.openvla.processor import ImageError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> OpenVLAPredictor:
    folder = tmp_path_factory.mktemp("published") / "net"
    write_published(folder)
    return load(folder)


def images(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(3).integers(0, 256, (count, 40, 50, 3), dtype=np.uint8))


def test_an_action_is_decoded_from_seven_greedy_tokens(model: OpenVLAPredictor) -> None:
    picture = images(1)[0]
    processor = model.checkpoint.processor
    ids, _ = processor.tokenize_instructions([INSTRUCTIONS[1]])
    pixels = processor.images(picture[None, None])
    with torch.no_grad():
        for _ in range(7):  # the whole sequence again for each token, as without a cache
            logits = model(ids, torch.ones_like(ids), pixels).logits
            ids = torch.cat([ids, logits[:, -1:].argmax(dim=-1)], dim=1)
    centers = (np.linspace(-1, 1, 256)[:-1] + np.linspace(-1, 1, 256)[1:]) / 2
    normalized = centers[np.clip(640 - ids[0, -7:].numpy() - 1, 0, 254)]
    low, high = np.array(ACTION["q01"]), np.array(ACTION["q99"])
    expected = np.where(ACTION["mask"], 0.5 * (normalized + 1) * (high - low) + low, normalized)
    np.testing.assert_allclose(model.predict_action(picture, INSTRUCTIONS[1], "fractal"), expected, atol=1e-6)


def test_a_batch_of_16_different_prompts_agrees_with_each_alone(model: OpenVLAPredictor) -> None:
    pictures, instructions = images(16), ["reach " + "over there " * (row % 5) + str(row) for row in range(16)]
    together = model.predict_action(pictures, instructions, "bridge_orig")
    alone = [model.predict_action(*pair, "bridge_orig") for pair in zip(pictures, instructions, strict=True)]
    assert together.shape == (16, 7)
    np.testing.assert_array_equal(together, np.stack(alone))
    assert len(np.unique(together, axis=0)) > 4


def test_logits_of_a_padded_batch_agree_closely(model: OpenVLAPredictor) -> None:
    processor, instructions = model.checkpoint.processor, ["reach " + "over there " * (row % 5) for row in range(16)]
    ids, mask = processor.tokenize_instructions(instructions)
    pixels = processor.images(np.stack(images(16))[:, None])
    with torch.no_grad():
        together = model(ids, mask, pixels).logits
        for row in range(16):
            length = int(mask[row].sum())
            single = model(ids[row : row + 1, :length], mask[row : row + 1, :length], pixels[row : row + 1]).logits
            difference = (together[row, : single.shape[1]] - single[0]).abs().max() / single.abs().max()
            assert difference < 2e-6


def test_one_instruction_holds_for_all_images(model: OpenVLAPredictor) -> None:
    pictures = images(2)
    together = model.predict_action(pictures, INSTRUCTIONS[0], "fractal")
    np.testing.assert_array_equal(together, model.predict_action(np.stack(pictures), [INSTRUCTIONS[0]] * 2, "fractal"))
    assert together.shape == (2, 7)


def test_pil_images_of_any_mode_are_taken(model: OpenVLAPredictor) -> None:
    picture = images(1)[0]
    expected = model.predict_action(picture, INSTRUCTIONS[0], "fractal")
    opaque = Image.fromarray(picture).convert("RGBA")
    for given in (Image.fromarray(picture), opaque):
        np.testing.assert_array_equal(model.predict_action(given, INSTRUCTIONS[0], "fractal"), expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            np.zeros((40, 40, 3), np.float32),
            r"float32 \(40, 40, 3\)\. Expected uint8 .* multiply images of 0\.\.1 by",
        ),
        (np.full((40, 40, 3), 200.0), r"float64 \(40, 40, 3\)\. Expected uint8"),
        (np.zeros((40, 40, 4), np.uint8), "four channels .* remove the alpha channel"),
        (np.zeros((40, 40), np.uint8), r"shape \(40, 40\)\. Expected"),
        (np.zeros((3, 40, 40), np.uint8), "move the channels to the end"),
    ],
)
def test_other_images_are_refused(model: OpenVLAPredictor, given: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        model.predict_action(given, INSTRUCTIONS[0], "fractal")


def test_as_many_instructions_as_images(model: OpenVLAPredictor) -> None:
    with pytest.raises(ImageError, match="2 images and 3 instructions"):
        model.predict_action(images(2), ["a", "b", "c"], "fractal")
