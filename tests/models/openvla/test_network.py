from dataclasses import replace

import pytest
import torch

from tests.models.small import VOCABULARY, inputs, small_checkpoint, small_config
from vla_bench.models.openvla.action_tokens import SmoothedTokenLoss
from vla_bench.models.openvla.config import ModelConfigError, openvla_7b_config, openvla_nano_config
from vla_bench.models.openvla.config_file import config_from_json, config_to_json
from vla_bench.models.openvla.network import OpenVLA

DECODINGS = ("autoregressive", "parallel")


def first_rows(batch: dict[str, torch.Tensor], rows: slice) -> dict[str, torch.Tensor]:
    return {name: tensor[rows] for name, tensor in batch.items()}


@pytest.mark.parametrize("decoding", DECODINGS)
def test_logits_cover_the_whole_multimodal_sequence(decoding):
    checkpoint = small_checkpoint(decoding)
    batch = inputs(checkpoint, 3)
    output = checkpoint.model(**batch)
    assert output.logits.shape == (3, 2 * 9 + 1 + batch["input_ids"].shape[1], VOCABULARY)
    assert checkpoint.model.action_logits(**batch).shape == (3, 2, 7, VOCABULARY)


@pytest.mark.parametrize("decoding", DECODINGS)
def test_every_parameter_gets_a_gradient(decoding):
    checkpoint = small_checkpoint(decoding)
    answer = torch.randint(VOCABULARY - 256, VOCABULARY, (2, 14))
    logits = checkpoint.model.answer_logits(**inputs(checkpoint, 2), answer=answer)
    SmoothedTokenLoss(VOCABULARY)(logits, answer).backward()
    idle = [name for name, value in checkpoint.model.named_parameters() if value.grad is None or not value.grad.any()]
    assert idle == []


@pytest.mark.parametrize("decoding", DECODINGS)
def test_a_row_does_not_depend_on_the_rest_of_the_batch(decoding):
    checkpoint = small_checkpoint(decoding)
    together = inputs(checkpoint, 8)
    with torch.no_grad():
        expected = checkpoint.model.action_logits(**together)
        for row in range(8):
            alone = first_rows(together, slice(row, row + 1))
            length = int(alone["attention_mask"].sum())
            if decoding == "autoregressive":  # a batch of one is not padded at all
                alone["input_ids"], alone["attention_mask"] = (
                    alone["input_ids"][:, :length],
                    torch.ones(1, length).long(),
                )
            assert torch.allclose(checkpoint.model.action_logits(**alone)[0], expected[row], atol=1e-4)


def test_a_prompt_longer_than_the_fixed_length_leaves_other_rows_alone():
    checkpoint = small_checkpoint()
    batch = inputs(checkpoint, 2)
    ids, mask = checkpoint.processor.tokenize_instructions(
        ["reach for the cube", "reach for the " + "very " * 9 + "far cube"]
    )
    assert ids.shape[1] > checkpoint.config.prompt_length
    with torch.no_grad():
        alone = checkpoint.model.action_logits(**first_rows(batch, slice(1)))
        together = checkpoint.model.action_logits(**{**batch, "input_ids": ids, "attention_mask": mask})
        overlong = checkpoint.model.action_logits(
            **{**first_rows(batch, slice(1, 2)), "input_ids": ids[1:], "attention_mask": mask[1:]}
        )
    assert torch.allclose(together[0], alone[0], atol=1e-4)
    assert torch.allclose(together[1], overlong[0], atol=1e-4)


def test_key_value_cache_changes_nothing():
    checkpoint = small_checkpoint("autoregressive")
    batch = inputs(checkpoint, 4)
    with torch.no_grad():
        cached = checkpoint.model.generate(**batch, num_tokens=7)
        tokens = cached.argmax(dim=-1)
        recomputed = checkpoint.model.answer_logits(**batch, answer=tokens)
    assert torch.allclose(cached, recomputed, atol=1e-4)
    assert torch.equal(recomputed.argmax(dim=-1), tokens)


def test_autoregressive_decoding_sees_only_earlier_tokens():
    checkpoint = small_checkpoint("autoregressive")
    batch = inputs(checkpoint, 1)
    answer = torch.randint(VOCABULARY - 256, VOCABULARY, (1, 14))
    changed = answer.clone()
    changed[0, 5] = VOCABULARY - 256 + (changed[0, 5] + 7) % 256
    with torch.no_grad():
        before = checkpoint.model.answer_logits(**batch, answer=answer)
        after = checkpoint.model.answer_logits(**batch, answer=changed)
    assert torch.allclose(before[:, :6], after[:, :6], atol=1e-5)
    assert not torch.allclose(before[:, 6], after[:, 6], atol=1e-5)


def test_parallel_slots_see_each_other_and_everything_else():
    checkpoint = small_checkpoint()
    batch = inputs(checkpoint, 1)
    with torch.no_grad():
        logits = checkpoint.model.slot_logits(**batch)
        fewer = checkpoint.model.slot_logits(**batch, num_slots=7)
    assert not torch.allclose(logits[:, :7], fewer, atol=1e-5)
    for name in ("pixel_values", "proprioception"):
        with torch.no_grad():
            changed = checkpoint.model.slot_logits(**{**batch, name: batch[name] + 0.5})
        assert not torch.allclose(logits, changed, atol=1e-5)


def test_padding_is_not_seen():
    checkpoint = small_checkpoint()
    batch = inputs(checkpoint, 1)
    padded = batch["attention_mask"] == 0
    assert padded.any()
    with torch.no_grad():
        expected = checkpoint.model.slot_logits(**batch)
        scribbled = {**batch, "input_ids": batch["input_ids"].masked_fill(padded, 9)}
        assert torch.allclose(checkpoint.model.slot_logits(**scribbled), expected, atol=1e-6)


def test_loss_is_the_cross_entropy_of_the_next_token():
    checkpoint = small_checkpoint("autoregressive")
    batch = inputs(checkpoint, 1)
    labels = batch["input_ids"].clone()
    labels[:, :-1] = -100
    output = checkpoint.model(**batch, labels=labels)
    expected = -output.logits[0, -2].log_softmax(dim=-1)[labels[0, -1]]
    assert torch.isclose(output.loss, expected, atol=1e-5)


def test_features_are_those_of_the_second_to_last_block():
    config = small_config()
    model = OpenVLA(config).eval()
    assert len(model.vision_backbone.featurizer.encoder.layer) == config.featurizer.num_hidden_layers - 1
    pixels = torch.randn(2, 12, 24, 24)
    features = model.vision_backbone(pixels)
    tower = model.vision_backbone.fused_featurizer
    expected = tower(pixel_values=pixels[:, 9:]).last_hidden_state  # its own forward; the final norm was taken out
    assert torch.allclose(features[:, 9:, 16:], expected, atol=1e-5)


def test_images_of_a_row_stay_apart():
    model = OpenVLA(small_config()).eval()
    pixels = torch.randn(1, 12, 24, 24)
    features = model.vision_backbone(pixels)
    changed = pixels.clone()
    changed[:, 6:] += 1.0  # the second image
    after = model.vision_backbone(changed)
    assert torch.equal(features[:, :9], after[:, :9])
    assert not torch.allclose(features[:, 9:], after[:, 9:])


def test_missing_proprioception_is_an_error():
    checkpoint = small_checkpoint()
    batch = inputs(checkpoint, 1) | {"proprioception": None}
    with pytest.raises(ValueError, match="5 numbers of proprioception"):
        checkpoint.model.slot_logits(**batch)


def test_a_network_without_proprioception_has_no_token_for_it():
    model = OpenVLA(small_config(proprioception_dim=0))
    assert model.proprioception_projector is None
    assert (
        model.slot_logits(torch.ones(1, 10).long(), torch.ones(1, 10).long(), torch.randn(1, 12, 24, 24)).shape[1] == 14
    )


@pytest.mark.parametrize("config", [openvla_nano_config(), openvla_7b_config(), small_config("autoregressive")])
def test_configuration_survives_json(config):
    assert config_from_json(config_to_json(config)) == config


def test_impossible_configurations_say_what_is_wrong():
    config = small_config()
    with pytest.raises(ModelConfigError, match=r"image_size is 24\. Expected a multiple of the patch size 7"):
        replace(config, featurizer=replace(config.featurizer, patch_size=7))
    with pytest.raises(ModelConfigError, match="different numbers of patches"):
        replace(config, featurizer=replace(config.featurizer, patch_size=12))
    with pytest.raises(ModelConfigError, match="28 slot tokens"):
        replace(config, chunk_size=4)
    with pytest.raises(ModelConfigError, match="feature_layer"):
        replace(config.featurizer, feature_layer=-4)
    with pytest.raises(ModelConfigError, match="'text_config' is missing"):
        config_from_json({key: value for key, value in config_to_json(config).items() if key != "text_config"})


def test_nano_is_small():
    model = OpenVLA(openvla_nano_config())
    assert 1.0e6 < sum(value.numel() for value in model.parameters()) < 2.5e6


def test_overfits_eight_samples():
    checkpoint = small_checkpoint()
    batch, model = inputs(checkpoint, 8), checkpoint.model.train()
    actions = torch.rand(8, 14) * 2 - 1
    answer = torch.from_numpy(checkpoint.action_tokenizer.encode(actions.numpy()))
    loss_of = SmoothedTokenLoss(VOCABULARY, sigma_bins=2.0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(120):
        loss = loss_of(model.slot_logits(**batch), answer)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    predicted = checkpoint.action_tokenizer.expected_action(model.slot_logits(**batch).detach())
    assert (predicted - actions).abs().mean() < 0.05
