import numpy as np
import pytest
import torch

from vla_bench.models.openvla.action_tokens import ActionTokenizer, SmoothedTokenLoss
from vla_bench.models.openvla.config import openvla_7b_config
from vla_bench.models.openvla.tokenization import (
    VocabularyError,
    action_prompt,
    question_prompt,
    train_nano_tokenizer,
    word_token,
)

SENTENCES = [action_prompt(f"put the {colour} cube in the basket") for colour in ("red", "green", "blue")]


def test_openvla_s_constants():
    config = openvla_7b_config()
    assert config.vocab_end == 32000
    tokens = ActionTokenizer(config.vocab_end)
    assert tokens.encode(np.array([-1.0, 1.0, -7.0, 7.0])).tolist() == [31999, 31744, 31999, 31744]
    assert tokens.encode(np.array(0.0)) == 31872
    assert len(tokens.bin_centers) == 255
    assert tokens.decode(np.array([31999]))[0] == pytest.approx(-1 + 1 / 255)
    assert tokens.decode(np.array([31744, 31745])).tolist() == pytest.approx([1 - 1 / 255] * 2)


def test_round_trip_loses_at_most_half_a_bin():
    tokens = ActionTokenizer(1024)
    actions = np.random.default_rng(0).uniform(-1, 1, 10_000)
    assert np.abs(tokens.decode(tokens.encode(actions)) - actions).max() <= 1 / 255 + 1e-12


def test_decoding_of_logits():
    tokens = ActionTokenizer(1024)
    logits = torch.zeros(3, 1024)
    logits[0, 1023] = logits[1, 768] = logits[2, 896] = 100.0
    assert tokens.most_likely_action(logits).tolist() == pytest.approx([-254 / 255, 254 / 255, 0.0], abs=1e-6)
    assert tokens.expected_action(logits).tolist() == pytest.approx([-254 / 255, 254 / 255, 0.0], abs=1e-6)
    logits[2, 900] = 100.0
    assert tokens.expected_action(logits)[2].item() == pytest.approx(-2 * 2 / 255, abs=1e-6)
    logits[:, 5] = 1000.0  # a word
    assert tokens.expected_action(logits)[0].item() == pytest.approx(-254 / 255, abs=1e-6)


def test_prompts():
    assert action_prompt("Put the Red cube ") == "In: What action should the robot take to put the red cube?\nOut:"
    assert question_prompt("Where is the red cube?") == "In: Where is the red cube?\nOut:"


def test_nano_vocabulary_ends_with_slots_and_bins():
    tokenizer = train_nano_tokenizer(SENTENCES, ["yes", "no"])
    assert len(tokenizer) == 1024
    assert tokenizer.convert_ids_to_tokens([767, 768, 1023]) == ["<slot_55>", "<action_0>", "<action_255>"]
    ids = tokenizer(SENTENCES[0]).input_ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == SENTENCES[0]
    assert len(ids) == 1 + 1 + len(["put", "the", "red", "cube", "in", "the", "basket"]) + 1
    assert ids[0] == tokenizer.bos_token_id


def test_nano_vocabulary_is_deterministic_and_spells_unknown_words():
    first, second = (train_nano_tokenizer(SENTENCES, ["yes"]) for _ in range(2))
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()
    unknown = "Öffne die Schublade"
    assert first.decode(first(unknown).input_ids, skip_special_tokens=True) == unknown


def test_words_are_single_tokens_or_an_error():
    tokenizer = train_nano_tokenizer(SENTENCES, ["yes"])
    assert tokenizer.decode([word_token(tokenizer, "yes")]) == " yes"
    with pytest.raises(VocabularyError, match="'zebra' takes"):
        word_token(tokenizer, "zebra")


def test_unsmoothed_loss_is_cross_entropy():
    logits, labels = torch.randn(2, 5, 1024), torch.randint(0, 1024, (2, 5))
    labels[0, 1] = -100
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
    assert torch.isclose(SmoothedTokenLoss(1024, sigma_bins=0)(logits, labels), expected)


def test_smoothed_loss_prefers_near_misses():
    loss = SmoothedTokenLoss(1024, sigma_bins=4.0)

    def of(predicted: int, label: int) -> float:
        logits = torch.full((1, 1, 1024), -4.0)
        logits[0, 0, predicted] = 4.0
        return loss(logits, torch.tensor([[label]])).item()

    assert of(900, 900) < of(903, 900) < of(930, 900)
    assert of(930, 900) == pytest.approx(of(5, 900), abs=1e-3)
    assert of(5, 5) < 0.5  # words are not smoothed
    assert torch.allclose(loss.soft_targets.sum(dim=1), torch.ones(256), atol=1e-6)
    assert (loss.soft_targets.argmax(dim=1) == torch.arange(256)).all()


def test_weights_of_labels():
    loss = SmoothedTokenLoss(1024)
    logits, labels = torch.randn(1, 2, 1024), torch.tensor([[800, 5]])
    only_first = loss(logits, labels, torch.tensor([[1.0, 0.0]]))
    assert torch.isclose(only_first, loss(logits[:, :1], labels[:, :1]))
