"""Questions about scenes whose truth is known, and batches of them."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.models.small import small_checkpoint, small_config
from vla_bench.models.openvla.action_tokens import ActionTokenizer
from vla_bench.models.openvla.network import IGNORED_LABEL
from vla_bench.training.pretraining.grounding import (
    GroundingBatches,
    GroundingData,
    GroundingFrames,
    ReferringLoss,
    patch_labels,
)
from vla_bench.training.pretraining.questions import (
    ANSWER_SLOTS,
    RELATIVE_SCALE_M,
    TABLE_SCALE_M,
    QuestionGenerator,
    Vocabulary,
    all_questions,
)

_NOUNS = {"cube": "red cube", "can": "blue can", "plate": "plate"}
_COLOURS = {"cube": "red", "can": "blue", "plate": "purple"}
_WORDS = {"yes": 5, "no": 6, "red": 7, "blue": 8, "purple": 9}
_ACTIONS = ActionTokenizer(640)
_POSITIONS = np.array([[0.1, 0.2, 0.82], [-0.05, -0.1, 0.83], [0.0, -0.28, 0.81]])
_GRIPPER = np.array([0.02, 0.05, 0.95])
_BIN = 2 / 255  # of the range -1..1


@pytest.fixture
def questioner() -> QuestionGenerator:
    return QuestionGenerator(tuple(_NOUNS), Vocabulary(_NOUNS, _COLOURS, _WORDS), _ACTIONS, ANSWER_SLOTS + 2)


@pytest.mark.parametrize("item", range(3))
def test_the_answer_to_where_is_the_place(questioner: QuestionGenerator, item: int) -> None:
    question = questioner.where(item, _POSITIONS, _GRIPPER)
    assert question.text == f"Where is the {list(_NOUNS.values())[item]}?"
    assert question.item == item
    x, y, z, table_x, table_y = _ACTIONS.decode(question.labels[:ANSWER_SLOTS])
    offset = np.array([x, y, z]) * RELATIVE_SCALE_M
    assert np.allclose(_GRIPPER + offset, _POSITIONS[item], atol=RELATIVE_SCALE_M * _BIN / 2 + 1e-9)
    table = np.array([table_x, table_y]) * TABLE_SCALE_M
    assert np.allclose(table, _POSITIONS[item, :2], atol=TABLE_SCALE_M * _BIN / 2 + 1e-9)
    assert np.all(question.labels[ANSWER_SLOTS:] == IGNORED_LABEL)


def test_what_is_too_far_away_is_at_the_end_of_the_range(questioner: QuestionGenerator) -> None:
    question = questioner.where(0, _POSITIONS + np.array([0.0, 2.0, 0.0]), _GRIPPER)
    assert _ACTIONS.decode(question.labels[1:2])[0] == pytest.approx(1.0, abs=_BIN)


def _answers(questioner: QuestionGenerator, text: str) -> set[int]:
    generator = np.random.default_rng(0)
    asked = [questioner.ask(_POSITIONS, _GRIPPER, generator) for _ in range(600)]
    found = [question for question in asked if question.text == text]
    assert all(question.item is None for question in found)
    assert all(np.all(question.labels[1:] == IGNORED_LABEL) for question in found)
    return {int(question.labels[0]) for question in found}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Is the red cube left of the plate?", "yes"),  # +y is the robot's left
        ("Is the plate left of the red cube?", "no"),
        ("Is the blue can left of the plate?", "yes"),
        ("What colour is the object nearest to the gripper?", "blue"),  # 20 cm, the cube 21
    ],
)
def test_words_answer_what_has_no_place(questioner: QuestionGenerator, text: str, answer: str) -> None:
    assert _answers(questioner, text) == {_WORDS[answer]}


def test_every_question_is_known_to_the_tokenizers_training(questioner: QuestionGenerator) -> None:
    generator = np.random.default_rng(1)
    asked = {questioner.ask(_POSITIONS, _GRIPPER, generator).text for _ in range(1500)}
    assert asked == set(all_questions(Vocabulary(_NOUNS, _COLOURS, {})))


def test_a_patch_shows_what_covers_enough_of_it() -> None:
    segments = np.zeros((1, 2, 8, 8), dtype=np.uint8)
    segments[0, 0, :4, 4:] = 2  # all of the second patch of the first camera
    segments[0, 1, 5, 1] = 1  # one of sixteen pixels of the third of the second: enough
    shown = patch_labels(segments, patch_size=4, items=2)
    assert shown.shape == (1, 8, 2)
    assert [tuple(place) for place in np.argwhere(shown[0])] == [(1, 1), (6, 0)]
    assert not patch_labels(segments, patch_size=8, items=2)[0, 1].any()  # one of 64 is not


def _data() -> GroundingData:
    """Return two sources; in the first, which has segmentation, each item covers the patch of its own index."""
    config, generator = small_config(), np.random.default_rng(0)
    side, patch = config.image_size, config.featurizer.patch_size
    segments: NDArray[np.uint8] = np.zeros((6, 2, side, side), dtype=np.uint8)
    for item in range(3):
        segments[:, 0, :patch, item * patch : (item + 1) * patch] = item + 1
    images = generator.integers(0, 256, (6, 2, side, side, 3), dtype=np.uint8)
    proprioception = generator.normal(size=(6, 5)).astype(np.float32)
    places = np.broadcast_to(_POSITIONS, (6, 3, 3)).astype(np.float32)
    gripper = np.broadcast_to(_GRIPPER, (6, 3)).astype(np.float32)
    known = GroundingFrames(images, proprioception, gripper, places, segments)
    return GroundingData(
        tuple(_NOUNS), _NOUNS, _COLOURS, (known, GroundingFrames(images, proprioception, gripper, places))
    )


@pytest.fixture
def batches(questioner: QuestionGenerator) -> GroundingBatches:
    checkpoint = small_checkpoint()
    return GroundingBatches(_data(), questioner, checkpoint.processor, checkpoint.statistics["made_up"])


def test_a_batch_draws_from_all_sources_and_marks_the_patches_asked_for(batches: GroundingBatches) -> None:
    batch, referred = batches.batch(16, np.random.default_rng(0))
    assert len(batch.input_ids) == len(batch.answer) == len(batch.pixel_values) == 16
    assert batch.proprioception is not None
    assert 0 < len(referred.rows) <= 8
    assert referred.rows.max() < 8  # the first half, whose pixels are known
    for row, shown in zip(referred.rows.tolist(), referred.shown, strict=True):
        (patch,) = torch.nonzero(shown)[:, 0].tolist()
        x = float(_ACTIONS.decode(batch.answer[row, :1].numpy())[0]) * RELATIVE_SCALE_M
        assert x == pytest.approx(_POSITIONS[patch, 0] - _GRIPPER[0], abs=0.01)  # of the item that the answer is about


def test_a_batch_in_which_nothing_is_referred_to_gives_no_referring_loss(batches: GroundingBatches) -> None:
    drawn = (batches.batch(2, np.random.default_rng(seed)) for seed in range(100))
    batch, referred = next(both for both in drawn if not len(both[1].rows))
    model = small_checkpoint().model
    referring = ReferringLoss(model, layer=1, yes=5, no=6)
    with referring.capture_hidden():
        logits = batch.logits(model)
    loss = referring.loss(referred)
    (logits.sum() + loss).backward()
    assert loss == 0.0


def test_the_referring_loss_is_least_where_the_right_patches_say_yes(batches: GroundingBatches) -> None:
    batch, referred = batches.batch(16, np.random.default_rng(0))
    model = small_checkpoint().model
    referring = ReferringLoss(model, layer=2, yes=5, no=6)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        with referring.capture_hidden():
            batch.logits(model)
        loss = referring.loss(referred)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
