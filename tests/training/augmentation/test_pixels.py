import numpy as np
import pytest

from vla_bench.training.augmentation.pipeline import Pipeline
from vla_bench.training.augmentation.samples import Draw, Samples
from vla_bench.training.config import AugmentationConfig

OFF = {"shift_pixels": 0, "brightness": 0.0}
EACH = [
    {"shift_pixels": 3},
    {"crop_area": 0.6, "crop_aspect": 1.3},
    {"brightness": 0.2},
    {"contrast": 0.3},
    {"saturation": 0.5},
    {"hue": 0.2},
    {"noise": 5.0},
]


def samples(rows: int = 6, seed: int = 0) -> Samples:
    draw = np.random.default_rng(seed)
    coarse = draw.integers(30, 220, (rows, 2, 6, 6, 3), dtype=np.uint8)
    return Samples(
        images=coarse.repeat(4, axis=2).repeat(4, axis=3),
        actions=draw.uniform(-1, 1, (rows, 2, 7)).astype(np.float32),
        proprioception=draw.normal(size=(rows, 5)).astype(np.float32),
        instructions=("pick it up",) * rows,
    )


def changed(config: dict, given: Samples, rows: int | None = None, start: int = 0, seed: int = 0) -> Samples:
    pipeline = Pipeline.of(AugmentationConfig(**{**OFF, **config}))
    return pipeline(given, Draw(np.random.default_rng(seed), rows or len(given), start))


def part(given: Samples, rows: slice) -> Samples:
    return Samples(given.images[rows], given.actions[rows], given.proprioception[rows], given.instructions[rows])


@pytest.mark.parametrize("config", EACH, ids=lambda config: "+".join(config))
def test_each_image_is_changed_on_its_own_and_nothing_else(config):
    given = samples()
    given.images[:] = given.images[0, 0]  # all alike
    before = given.images.copy()
    made = changed(config, given)
    assert made.images.shape == before.shape
    assert made.images.dtype == np.uint8
    assert len({image.tobytes() for image in made.images.reshape(12, -1)}) > 6
    assert np.array_equal(given.images, before)
    assert np.array_equal(made.actions, given.actions)
    assert np.array_equal(made.proprioception, given.proprioception)
    assert made.instructions == given.instructions


@pytest.mark.parametrize("config", EACH, ids=lambda config: "+".join(config))
def test_processes_that_share_a_batch_change_it_as_one_would(config):
    given = samples()
    whole = changed(config, given)
    for rows in (slice(0, 2), slice(2, 6)):
        assert np.array_equal(changed(config, part(given, rows), 6, rows.start).images, whole.images[rows])


@pytest.mark.parametrize("config", EACH, ids=lambda config: "+".join(config))
def test_the_generator_alone_decides(config):
    given = samples()
    assert np.array_equal(changed(config, given).images, changed(config, given).images)
    assert not np.array_equal(changed(config, given).images, changed(config, given, seed=1).images)


def test_with_everything_off_nothing_changes():
    given = samples()
    assert np.array_equal(changed({}, given).images, given.images)


def test_changes_stay_within_their_limits():
    given = samples()
    ramp = np.broadcast_to(np.arange(24, dtype=np.uint8)[:, None, None] * 10, given.images.shape).copy()
    given = Samples(ramp, given.actions, given.proprioception, given.instructions)
    assert np.abs(changed({"shift_pixels": 3}, given).images.astype(int) - ramp).max() == 30
    assert np.abs(changed({"brightness": 0.1}, given).images.astype(int) - ramp).max() <= 24
    assert 2.0 < (changed({"noise": 3.0}, given).images.astype(int) - ramp)[:, :, 5:20].std() < 4.0
    assert np.array_equal(changed({"saturation": 0.9, "hue": 0.5}, given).images, ramp)  # grey has no colour


def test_a_crop_shows_a_part_of_the_image_as_the_whole():
    rows, columns = np.mgrid[:48, :48]
    image = np.stack([rows * 5, columns * 5, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    given = samples(rows=20)
    given = Samples(np.broadcast_to(image, (20, 2, 48, 48, 3)), given.actions, given.proprioception, given.instructions)
    made = changed({"crop_area": 0.5}, given).images.astype(float) / 5
    heights = made[..., -1, 24, 0] - made[..., 0, 24, 0] + 1
    widths = made[..., 24, -1, 1] - made[..., 24, 0, 1] + 1
    assert np.abs(heights - widths).max() < 1.5  # the aspect is kept
    shares = (heights / 48) ** 2
    assert 0.45 < shares.min() < 0.65
    assert 0.85 < shares.max() <= 1.05


def test_hue_turns_red_into_other_colours_of_the_same_brightness():
    given = samples()
    given.images[:] = (200, 40, 40)
    made = changed({"hue": 0.5}, given).images
    assert np.all(made.max(axis=-1) == 200)
    assert np.all(np.abs(made.min(axis=-1).astype(int) - 40) <= 1)
    assert len(np.unique(made.reshape(-1, 3), axis=0)) > 6


def test_contrast_keeps_the_mean():
    given = samples()
    made = changed({"contrast": 0.2}, given).images
    grey = np.array([0.299, 0.587, 0.114])
    before, after = ((images @ grey).mean(axis=(2, 3)) for images in (given.images, made))
    assert np.abs(before - after).max() < 3
    assert len(np.unique(np.round((made @ grey).std(axis=(2, 3)) / (given.images @ grey).std(axis=(2, 3)), 2))) > 3


def test_todays_pretraining_sees_the_brightness_that_it_always_saw():
    """One random number per image, sampled in one call: another order would change every earlier base."""
    given = samples()
    made = changed({"brightness": 0.1}, given, seed=7)
    factors = 1.0 + np.random.default_rng(7).uniform(-0.1, 0.1, size=12)
    for image, before, factor in zip(
        made.images.reshape(12, 24, 24, 3), given.images.reshape(12, 24, 24, 3), factors, strict=True
    ):
        assert np.array_equal(image, np.clip(np.arange(256) * factor, 0, 255).astype(np.uint8)[before])
